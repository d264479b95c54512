"""Tokens of the fake model: words, with ids that are given out as they are first seen."""

from __future__ import annotations

import re
from collections.abc import Sequence

BOS = "<bos>"


def pieces(text: str) -> list[str]:
    """Split into tokens: a word with the white space before it. Joined, they are the text."""
    return re.findall(r"\s*\S+|\s+", text)


CONTROL = ["<pad>", "<eos>", BOS]


class Vocabulary:
    """Token ids, given out as words are first seen; reversible for any text."""

    def __init__(self) -> None:
        self._pieces = list(CONTROL)
        self._ids: dict[str, int] = {}

    def encode(
        self, text: str, *, add_special: bool = False, parse_special: bool = True
    ) -> list[int]:
        """Return the ids of a text, in which the names of control tokens may stand for these."""
        parts = re.split(f"({'|'.join(CONTROL)})", text) if parse_special else [text]
        tokens = [CONTROL.index(BOS)] * add_special
        for part in parts:
            named = parse_special and part in CONTROL
            tokens += [CONTROL.index(part)] if named else map(self._id, pieces(part))
        return tokens

    def __contains__(self, token: int) -> bool:
        return 0 <= token < len(self._pieces)

    def decode(self, tokens: Sequence[int]) -> str:
        """Raises IndexError for an id that was never given out."""
        return "".join(self._pieces[token] for token in tokens)

    def _id(self, piece: str) -> int:
        if piece not in self._ids:
            self._pieces.append(piece)
            self._ids[piece] = len(self._pieces) - 1
        return self._ids[piece]
