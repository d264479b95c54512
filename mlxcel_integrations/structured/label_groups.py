"""Label groups: a probability for each group of labels that one answer tells apart."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["LabelGroup", "spelled", "split"]

BLANK = b" \t\r\n"
NOT_IMPOSSIBLE = 1e-12
"""Least probability of a token that was taken: servers round, or send none for certain ones."""

Range = tuple[int, int]

AFTER_ALL = b"\xff"
"""Sorts after every text, since no UTF-8 contains it."""


class LabelGroup(NamedTuple):
    """Labels that follow each other in the order of their spelling, and their probability.

    Attributes:
        start: Index of the first.
        end: Index after the last.
        probability: That of all of them together.
        seen: Whether a token or an alternative begins them.
    """

    start: int
    end: int
    probability: float = 1.0
    seen: bool = True

    @property
    def size(self) -> int:
        """Number of labels."""
        return self.end - self.start


def spelled(token: Mapping[str, Any]) -> bytes:
    """Return the bytes of a token, which need not be whole characters."""
    given = token.get("bytes") or ()
    if given and all(0 <= byte < 256 for byte in given):
        return bytes(given)
    return str(token.get("token") or "").encode(errors="replace")


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
            least = min(_probability(other) for other in alternatives)
            path, others = _shared_out(path, weights, least)
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
) -> dict[Range, float]:
    """Return how likely the ways on from a text are; the one that was taken is the first.

    Args:
        spellings: All labels.
        path: The labels that begin with the text.
        way: Those of them that begin with the token that was taken.
        text: The answer before the token.
        tokens: The token that was taken, and its alternatives, which may hold it again.
    """
    taken, *alternatives = tokens
    own = way.start, way.end
    weights: dict[Range, float] = {own: 0.0}
    for token in sorted(alternatives, key=_probability, reverse=True):
        one = _beginning_with(spellings, path, (text + spelled(token)).lstrip(BLANK))
        if not one.size or (one.start <= way.start and one.end >= way.end and one.size > way.size):
            continue  # no label, or a shorter beginning of the way that was taken
        # Of two beginnings of the same label, one begins the other.
        wider = next((key for key in weights if key[0] <= one.start and one.end <= key[1]), None)
        within = [key for key in weights if one.start <= key[0] and key[1] <= one.end]
        key = wider or (one.start, one.end)
        shorter = 0.0 if wider else math.fsum(weights.pop(each) for each in within)
        weights[key] = weights.get(key, 0.0) + shorter + _probability(token)
    weights[own] = max(weights[own], _probability(taken), NOT_IMPOSSIBLE)
    return weights


def _shared_out(
    path: LabelGroup, weights: Mapping[Range, float], least: float
) -> tuple[LabelGroup, list[LabelGroup]]:
    """Return the way that was taken, and the others; together as likely as the path.

    Args:
        path: The labels that could follow.
        weights: How likely each way is.
        least: How likely the labels in none of the ways are together.
    """
    unseen = _gaps(path, weights)
    count = sum(end - start for start, end in unseen)
    shares = {(start, end): least * (end - start) / count for start, end in unseen}
    total = math.fsum([*weights.values(), *shares.values()]) or 1.0
    own, *others = (
        LabelGroup(start, end, path.probability * weight / total, seen)
        for ways, seen in ((weights, True), (shares, False))
        for (start, end), weight in ways.items()
    )
    return own, others


def _gaps(path: LabelGroup, ways: Iterable[Range]) -> list[Range]:
    """Return the ranges of labels in none of the ways."""
    ordered = sorted(ways)
    starts = [path.start, *(end for _, end in ordered)]
    ends = [*(start for start, _ in ordered), path.end]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _probability(token: Mapping[str, Any]) -> float:
    logprob = token.get("logprob")
    return 0.0 if logprob is None else math.exp(min(logprob, 0.0))
