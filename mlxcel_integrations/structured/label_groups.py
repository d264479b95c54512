"""Label groups: a probability for each group of labels that one answer distinguishes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

__all__ = ["LabelGroup", "spelled", "split"]

BLANK = b" \t\r\n"
NOT_IMPOSSIBLE = 1e-12
"""Least probability of a chosen token: servers round, or send none for a certain token."""

Range = tuple[int, int]

AFTER_ALL = b"\xff"
"""Sorts after every text, since no UTF-8 contains it."""


class LabelGroup(NamedTuple):
    """Labels that follow each other in the order of their spelling, and a probability.

    Groups may overlap: after the token "bug", the label may be "bug" or "bug fix", and after the
    token "bug fix" only the latter. A label has its shares of all groups.

    Attributes:
        start: Index of the first.
        end: Index after the last.
        probability: That of all of them together, after the tokens that lead to this group.
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

    At each token after what the labels of the group have in common, the answer took one way; the
    alternatives of that token tell how likely the others were. Labels of which no alternative is
    the beginning share the probability of the least likely one. White space before the answer does
    not matter.

    Args:
        spellings: All labels as the answer may spell them, sorted; none begins another.
        group: The labels that the answer could choose from.
        tokens: The tokens of the answer, as the ``content`` of its ``logprobs``.

    Returns:
        Groups that hold all labels of this one; None if a choice came without alternatives.
    """
    found: list[LabelGroup] = []
    path, text = group, b""
    known = _common_length(spellings, group)
    for token in tokens:
        if path.size < 2:
            break
        longer = (text + spelled(token)).lstrip(BLANK)
        way = _beginning_with(spellings, path, longer)
        if not way.size:
            break  # A server may leave out tokens that it held back.
        if len(longer) > known:
            alternatives = token.get("top_logprobs") or ()
            if alternatives:
                weights = _weights(spellings, path, way, text, known, [token, *alternatives])
                least = min(_probability(other) for other in alternatives)
                path, others = _groups_of(path, weights, least)
                found += others
            elif way.size < path.size:
                return None
            known = len(longer)
        text += spelled(token)
    return [*found, path]


def _common_length(spellings: Sequence[bytes], group: LabelGroup) -> int:
    """Return how many bytes are known to begin an answer: none if all labels are in the group."""
    if group.size == len(spellings):
        return 0
    pairs = zip(spellings[group.start], spellings[group.end - 1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _beginning_with(spellings: Sequence[bytes], group: LabelGroup, text: bytes) -> LabelGroup:
    start = bisect_left(spellings, text, group.start, group.end)
    return LabelGroup(start, bisect_left(spellings, text + AFTER_ALL, start, group.end))


def _weights(
    spellings: Sequence[bytes],
    path: LabelGroup,
    way: LabelGroup,
    text: bytes,
    known: int,
    tokens: Sequence[Mapping[str, Any]],
) -> dict[Range, float]:
    """Return how likely the ways on from a text are; the one that was taken is the first.

    Args:
        spellings: All labels.
        path: The labels that could follow.
        way: Those of them that begin with the token that was taken.
        text: The answer before the token.
        known: How many bytes are known to begin the answer; shorter ways lead nowhere.
        tokens: The token that was taken, and its alternatives, which may hold it again.
    """
    taken, *alternatives = tokens
    own = way.start, way.end
    weights: dict[Range, float] = {own: 0.0}
    for token in alternatives:
        longer = (text + spelled(token)).lstrip(BLANK)
        one = _beginning_with(spellings, path, longer)
        if one.size and len(longer) > known:
            key = one.start, one.end
            weights[key] = weights.get(key, 0.0) + _probability(token)
    weights[own] = max(weights[own], _probability(taken), NOT_IMPOSSIBLE)
    others = sorted(weights.keys() - {own}, key=lambda one: one[1] - one[0])
    for key in others:
        within = [one for one in weights if one != key and key[0] <= one[0] and one[1] <= key[1]]
        if within:
            _narrow(weights, key, within)
    return weights


def _narrow(weights: dict[Range, float], key: Range, within: Sequence[Range]) -> None:
    """Give the weight of a beginning to the labels that have no longer one, if there are any.

    A model writes "inside" as one token where it can, hardly as "in" and "side".
    """
    weight = weights.pop(key)
    rest = _gaps(LabelGroup(*key), within)
    total = math.fsum(end - start for start, end in rest)
    for start, end in rest:
        weights[start, end] = weight * (end - start) / total
    known = math.fsum(weights[one] for one in within)
    if not rest and known:
        weights.update({one: weights[one] * (1 + weight / known) for one in within})


def _groups_of(
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
    gaps, reached = [], path.start
    for start, end in sorted(ways):
        if start > reached:
            gaps.append((reached, start))
        reached = max(reached, end)
    if reached < path.end:
        gaps.append((reached, path.end))
    return gaps


def _probability(token: Mapping[str, Any]) -> float:
    logprob = token.get("logprob")
    return 0.0 if logprob is None else math.exp(min(logprob, 0.0))
