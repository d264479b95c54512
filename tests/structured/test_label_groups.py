"""Label groups: what the tokens of one answer tell about all labels."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlxcel_integrations.structured.label_groups import LabelGroup, spelled, split

Shares = dict[str, float]


def token(text: str, share: float, **others: float) -> dict[str, Any]:
    def entry(text: str, share: float) -> dict[str, Any]:
        return {"token": text, "logprob": math.log(share), "bytes": list(text.encode())}

    alternatives = [entry(text, share), *(entry(*one) for one in others.items())]
    return {**entry(text, share), "top_logprobs": alternatives}


def groups(labels: list[str], *tokens: dict[str, Any]) -> list[tuple[list[str], float, bool]]:
    ordered = sorted(labels, key='"{}"'.format)
    found = split([f'"{label}"'.encode() for label in ordered], LabelGroup(0, len(labels)), tokens)
    assert found is not None
    return [
        (ordered[one.start : one.end], round(one.probability, 3), one.seen)
        for one in sorted(found, key=lambda one: one.start)
    ]


QUOTE = token('"', 0.9, The=0.05)


@pytest.mark.parametrize(
    ("labels", "tokens", "expected"),
    [
        (["no", "yes"], [QUOTE, token("yes", 0.6, no=0.2)], [(["no"], 0.25), (["yes"], 0.75)]),
        # Other texts take no part.
        (["no", "yes"], [QUOTE, token("no", 0.1, The=0.8, yes=0.1)],
         [(["no"], 0.5), (["yes"], 0.5)]),
        # Labels that begin alike, on the way that was taken and beside it.
        (
            ["ab", "ac", "b"],
            [QUOTE, token("a", 0.8, b=0.2), token("c", 0.3, b=0.1)],
            [(["ab"], 0.2), (["ac"], 0.6), (["b"], 0.2)],
        ),
        (["ab", "ac", "b"], [QUOTE, token("b", 0.8, a=0.2)], [(["ab", "ac"], 0.2), (["b"], 0.8)]),
        # A label that another one continues ends with its quote.
        (
            ["bug", "bug fix"],
            [QUOTE, token("bug", 0.9), token(" fix", 0.5, **{'"': 0.5})],
            [(["bug fix"], 0.5), (["bug"], 0.5)],
        ),
        # Several tokens begin the same label.
        (
            ["blue", "red"],
            [QUOTE, token("red", 0.5, bl=0.3, blue=0.1, b=0.1)],
            [(["blue"], 0.5), (["red"], 0.5)],
        ),
        # The token that was taken begins labels that have tokens of their own, too.
        (
            ["a", "ab", "abc"],
            [QUOTE, token("a", 0.5, ab=0.3, abc=0.2), token('"', 0.75, b=0.25)],
            [(["a"], 0.375), (["ab"], 0.3), (["ab", "abc"], 0.125), (["abc"], 0.2)],
        ),
        # The beginning of several labels is meant for those that have no longer one.
        (
            ["in", "inside", "on"],
            [QUOTE, token("inside", 0.5, **{"in": 0.3}, on=0.2)],
            [(["in"], 0.3), (["inside"], 0.5), (["on"], 0.2)],
        ),
        (
            ["in", "inside", "input", "on"],
            [QUOTE, token("on", 0.4, **{"in": 0.2}, inside=0.3, input=0.1)],
            [(["in"], 0.2), (["input"], 0.1), (["inside"], 0.3), (["on"], 0.4)],
        ),
        # White space before the answer, in tokens of its own or with the quote.
        (["a", "b"], [token("", 0.5, x=0.5), token('\n"', 0.5, x=0.1), token("a", 0.6, b=0.2)],
         [(["a"], 0.75), (["b"], 0.25)]),
        # The quote and the beginning of a label in one token.
        (["a", "b"], [token('"a', 0.6, **{'"b': 0.2, '"': 0.1})], [(["a"], 0.75), (["b"], 0.25)]),
        # Tokens that the server left out: the labels that are left share what they have.
        (["ab", "ac", "b"], [QUOTE, token("a", 0.8, b=0.2), token("?", 1)],
         [(["ab", "ac"], 0.8), (["b"], 0.2)]),
        (["only"], [QUOTE], [(["only"], 1.0)]),
    ],
)  # fmt: skip
def test_each_label_has_a_probability(
    labels: list[str], tokens: list[dict[str, Any]], expected: list[tuple[list[str], float]]
) -> None:
    assert [(*one, True) for one in expected] == groups(labels, *tokens)


def test_labels_that_are_no_alternative_share_the_least_probability() -> None:
    found = groups(["a", "b", "c", "d"], QUOTE, token("b", 0.5, x=0.3, y=0.125))

    assert [(["a"], 0.067, False), (["b"], 0.8, True), (["c", "d"], 0.133, False)] == found


def test_without_alternatives_nothing_is_known() -> None:
    bare = {"token": "a", "logprob": -0.1, "top_logprobs": []}

    assert split([b'"a"', b'"b"'], LabelGroup(0, 2), [{**bare, "token": '"'}, bare]) is None


def test_a_token_may_be_a_part_of_a_character() -> None:
    assert b"\xc3" == spelled({"token": "\ufffd", "bytes": [0xC3]})
    assert b"x" == spelled({"token": "x", "bytes": None}) == spelled({"token": "x", "bytes": [999]})


def test_impossible_tokens_are_no_error() -> None:
    taken = {"token": '"a', "logprob": -9999.0, "top_logprobs": [{"token": '"b', "logprob": -9999}]}

    assert [(["a"], 1.0, True), (["b"], 0.0, True)] == groups(["a", "b"], taken)
