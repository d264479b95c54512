"""Label groups: a probability for each group of labels that one answer tells apart."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["LabelGroup", "spelled", "split"]

BLANK = b" \t\r\n"
AFTER_ALL = b"\xff"
"""Sorts after every text, since no UTF-8 contains it."""


@dataclass(frozen=True, slots=True)
class LabelGroup:
    """Labels that follow each other in the order of their spelling, and their probability.

    Attributes:
        start: Index of the first.
        end: Index after the last.
        probability: That of all of them together.
    """

    start: int
    end: int
    probability: float = 1.0

    @property
    def size(self) -> int:
        """Number of labels."""
        return self.end - self.start


def spelled(token: Mapping[str, Any]) -> bytes:
    """Return the bytes of a token, which need not be whole characters."""
    given = token.get("bytes")
    return bytes(given) if given else str(token.get("token") or "").encode(errors="replace")


def split(
    spellings: Sequence[bytes], group: LabelGroup, tokens: Sequence[Mapping[str, Any]]
) -> list[LabelGroup] | None:
    """Split a group of labels by the tokens of an answer that is one of them.

    Where labels part, the answer took one way; the alternatives of that token tell how likely the
    others were. Labels of which no alternative is the beginning share the probability of the least
    likely one. White space before the answer does not matter.

    Args:
        spellings: All labels as the answer may spell them, sorted; none begins another.
        group: The labels that the answer could choose from.
        tokens: The tokens of the answer, as the ``content`` of its ``logprobs``.

    Returns:
        Groups that hold all labels of this one; None if a choice came without alternatives.
    """
    found: list[LabelGroup] = []
    path, text = group, b""
    for token in tokens:
        if path.size < 2:
            break
        way = _beginning_with(spellings, path, (text + spelled(token)).lstrip(BLANK))
        if not way.size:
            break  # A server may leave out tokens that it held back.
        if way.size < path.size:
            alternatives = token.get("top_logprobs") or ()
            if not alternatives:
                return None
            weights = _weights(spellings, path, way, text, [token, *alternatives])
            path, others = _shared_out(path, way, weights)
            found += others
        text += spelled(token)
    return [*found, path]


def _beginning_with(spellings: Sequence[bytes], group: LabelGroup, text: bytes) -> LabelGroup:
    start = bisect_left(spellings, text, group.start, group.end)
    return LabelGroup(start, bisect_left(spellings, text + AFTER_ALL, start, group.end))


def _weights(
    spellings: Sequence[bytes],
    path: LabelGroup,
    way: LabelGroup,
    text: bytes,
    tokens: Sequence[Mapping[str, Any]],
) -> dict[tuple[int, int], float]:
    """Return how likely the ways on from a text are, and the labels that are in none of them.

    Args:
        spellings: All labels.
        path: The labels that begin with the text.
        way: Those of them that begin with the token that was taken.
        text: The answer before the token.
        tokens: The token that was taken, and its alternatives, which may hold it again.
    """
    taken, *alternatives = tokens
    weights = {(way.start, way.end): 0.0}
    for token in sorted(alternatives, key=_probability, reverse=True):
        one = _beginning_with(spellings, path, (text + spelled(token)).lstrip(BLANK))
        if not one.size or (one.start <= way.start and one.end >= way.end and one.size > way.size):
            continue  # no label, or a shorter beginning of the way that was taken
        key = next((k for k in weights if k[0] < one.end and one.start < k[1]), None)
        if key is None:
            weights[one.start, one.end] = _probability(token)
        else:
            # Another spelling in tokens of the same labels, or of some of them.
            wider = min(key[0], one.start), max(key[1], one.end)
            weights[wider] = weights.pop(key) + _probability(token)
    own = way.start, way.end
    weights[own] = max(weights[own], _probability(taken))
    least = min(_probability(token) for token in alternatives)
    unseen = _gaps(path, weights)
    count = sum(end - start for start, end in unseen)
    return weights | {(start, end): least * (end - start) / count for start, end in unseen}


def _gaps(path: LabelGroup, ways: Mapping[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Return the ranges of labels in none of the ways."""
    starts = [path.start, *(end for _, end in sorted(ways))]
    ends = [*(start for start, _ in sorted(ways)), path.end]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _shared_out(
    path: LabelGroup, way: LabelGroup, weights: Mapping[tuple[int, int], float]
) -> tuple[LabelGroup, list[LabelGroup]]:
    """Return the way that was taken and the others, which have the probability of the path."""
    total = sum(weights.values())
    groups = [
        LabelGroup(start, end, path.probability * (weight / total if total else 1 / len(weights)))
        for (start, end), weight in weights.items()
    ]
    own = next(group for group in groups if group.start == way.start and group.end == way.end)
    return own, [group for group in groups if group is not own]


def _probability(token: Mapping[str, Any]) -> float:
    logprob = token.get("logprob")
    return 0.0 if logprob is None else math.exp(min(logprob, 0.0))
