"""Texts of the built-in embedder: normalized as BERT reads them, and long ones in parts.

llama.cpp normalizes texts for such a model in a simpler way: it reads words that are too long for
BERT, and does not split Korean syllables.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence

from ..flow import Call, Flow
from ..tokens.tokenize import TokenMemory, count_texts, read_tokens
from .embedding_limits import may_exceed

__all__ = ["MAX_PIECES", "Part", "mean_vectors", "normalize", "split_texts"]

MAX_PIECES = 256
"""Most word pieces of a text, with the two that begin and end it."""

_BEGIN, _END = 101, 102

_UNKNOWN_WORD = "[UNK]"

_LONG_WORD = re.compile(r"[^\s!-/:-@\[-`{-~]{101,}")
"""A word of more than 100 characters, which BERT does not read."""

_IDEOGRAPHS = (
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x2CEB0),
    range(0x2F800, 0x2FA20),
)
"""Characters each of which is a word."""

Part = str | list[int]
"""A text, or the ids of its word pieces."""


def split_texts(
    texts: Sequence[str], truncate: bool, tokens: TokenMemory
) -> Flow[list[list[Part]]]:
    """Return the parts of each text that the model can embed.

    Args:
        texts: The texts.
        truncate: Whether to leave out all parts but the first.
        tokens: What is known about counting tokens.
    """
    # An empty text is refused.
    parts: list[list[Part]] = [[normalize(text) or " "] for text in texts]
    long = [index for index, (text,) in enumerate(parts) if may_exceed(str(text), MAX_PIECES)]
    counts = yield from count_texts([str(parts[index][0]) for index in long], tokens)
    for index, count in zip(long, counts, strict=True):
        if count + 2 > MAX_PIECES:
            body = {"content": parts[index][0], "add_special": False}
            pieces = read_tokens((yield Call("/tokenize", body, frozenset())))
            parts[index] = [*_windows(pieces)][: 1 if truncate else None]
    return parts


def mean_vectors(
    vectors: Sequence[Sequence[float]], parts: Sequence[Sequence[Part]]
) -> list[list[float]]:
    """Return the vector of each text from those of its parts: their mean by length.

    Args:
        vectors: The vectors of all parts, in order.
        parts: The parts of each text.
    """
    rest = iter(vectors)
    return [_weighted_mean([(next(rest), len(part)) for part in text]) for text in parts]


def normalize(text: str) -> str:
    """Normalize a text as the tokenizer of uncased BERT does."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", text).translate(_NORMAL)
    return _LONG_WORD.sub(_UNKNOWN_WORD, text)


class _Normal(dict[int, str]):
    """What each character becomes, found when it is first read."""

    def __missing__(self, code: int) -> str:
        self[code] = normal = _normalized_character(chr(code))
        return normal


_NORMAL = _Normal()


def _normalized_character(character: str) -> str:
    if character.isspace():
        return " "
    kind = unicodedata.category(character)
    # Accents, and what is not shown.
    if kind == "Mn" or kind[0] == "C" or character == "\ufffd":
        return ""
    if kind[0] == "P" or any(ord(character) in ideographs for ideographs in _IDEOGRAPHS):
        return f" {character} "
    return character.lower()


def _windows(pieces: Sequence[int]) -> Iterator[Part]:
    """Yield the word pieces of a text in parts, each with what begins and ends it."""
    size = MAX_PIECES - 2
    for first in range(0, len(pieces), size):
        yield [_BEGIN, *pieces[first : first + size], _END]


def _weighted_mean(parts: Sequence[tuple[Sequence[float], int]]) -> list[float]:
    if len(parts) == 1:
        return list(parts[0][0])
    vectors, lengths = zip(*parts, strict=True)
    total = [
        sum(number * length for number, length in zip(numbers, lengths, strict=True))
        for numbers in zip(*vectors, strict=True)
    ]
    size = math.hypot(*total) or 1.0
    return [number / size for number in total]
