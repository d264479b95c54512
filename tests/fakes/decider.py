"""A model that decides: single characters as tokens, and labels of known probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tests.fakes.answers import Answer, Json
from tests.fakes.replies import Reply

__all__ = ["Decider", "allowed_labels"]


class Decider:
    """A model that would write each label with a known probability.

    Args:
        shares: The probability of each label.
        alternatives: Alternatives of each token.
    """

    def __init__(self, shares: Mapping[str, float], alternatives: int = 20) -> None:
        self.shares = {_quoted(label): share for label, share in shares.items()}
        self.alternatives = alternatives

    def answer(self, labels: Iterable[str]) -> list[Json]:
        """Return the most likely answer that is one of some labels, with log probabilities."""
        allowed = set(map(_quoted, labels))
        text, entries = "", []
        while text not in allowed:
            ways: dict[str, float] = {}
            for label, share in self.shares.items():
                if label.startswith(text):
                    character = label[len(text)]
                    ways[character] = ways.get(character, 0.0) + share
            total = sum(ways.values())
            ordered = sorted(ways, key=ways.__getitem__, reverse=True)
            top = [_entry(one, ways[one] / total) for one in ordered[: self.alternatives]]
            taken = next(
                one for one in ordered if any(label.startswith(text + one) for label in allowed)
            )
            entries.append({**_entry(taken, ways[taken] / total), "top_logprobs": top})
            text += taken
        return entries

    def reply(self, *labels: str) -> Reply:
        """Return a server's reply with an answer that is one of some labels, or of all."""
        entries = self.answer(labels or map(json.loads, self.shares))
        tokens = [entry["token"] for entry in entries]
        return Reply(answer=Answer("".join(tokens), pieces=tokens, logprobs=entries))


def allowed_labels(fields: Mapping[str, Any]) -> list[str]:
    """Return the labels that a request allows."""
    labels: list[str] = fields["response_format"]["json_schema"]["schema"]["enum"]
    return labels


def _quoted(label: str) -> str:
    return json.dumps(label, ensure_ascii=False)


def _entry(text: str, share: float) -> Json:
    return {"token": text, "logprob": math.log(share), "bytes": list(text.encode())}
