"""Whole answers from deltas: texts, tool calls, log probabilities, and what comes once."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import ChatReply, fold


def part(index: int, name: str | None = None, arguments: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, "function": function, **more}


def call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": identity,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def test_no_deltas_are_an_empty_answer() -> None:
    assert ChatReply() == fold([])


def test_texts_and_thinking_are_joined_apart() -> None:
    reply = fold([Delta(reasoning="hm"), Delta("a", "m"), Delta("b"), Delta(finish_reason="stop")])

    assert ChatReply("ab", "hmm", finish_reason="stop") == reply


def test_the_last_usage_and_timings_count() -> None:
    deltas = [Delta(usage={"a": 1}, timings={"t": 1}), Delta("x"), Delta(usage={"a": 2})]

    assert ChatReply("x", usage={"a": 2}, timings={"t": 1}) == fold(deltas)


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([[part(0, "f", '{"a": 1}', id="c1")]], [call("c1", "f", '{"a": 1}')]),
        (
            [[part(0, "f", id="c1", type="function")], [part(0, arguments='{"a": 1}')]],
            [call("c1", "f", '{"a": 1}')],
        ),
        (
            [[part(0, "f", id="c1")], *[[part(0, arguments=char)] for char in '{"ü": "🎉"}']],
            [call("c1", "f", '{"ü": "🎉"}')],
        ),
        (
            [
                [part(2, "h", id="c3")],
                [part(0, "f", id="c1"), part(2, arguments="{}")],
                [part(0, arguments="{}")],
            ],
            [call("c1", "f", "{}"), call("c3", "h", "{}")],
        ),
        ([[part(0, "f", "{}", id="c1")], [{"index": 0, "id": None}]], [call("c1", "f", "{}")]),
        ([[{"index": 0, "function": {"name": None, "arguments": None}}]], [call("", "", "")]),
    ],
    ids=["whole", "two", "characters", "skipped index", "null id", "nulls"],
)
def test_tool_calls_are_put_together_by_index(
    deltas: list[list[dict[str, Any]]], expected: list[dict[str, Any]]
) -> None:
    assert expected == fold([Delta(tool_calls=parts) for parts in deltas]).tool_calls


def test_folding_leaves_the_deltas_alone() -> None:
    parts = [part(0, "f", id="c1")]
    logprobs = {"content": [1]}
    fold([Delta(tool_calls=parts, logprobs=logprobs)] * 2)

    assert [part(0, "f", id="c1")] == parts
    assert {"content": [1]} == logprobs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([{"content": [1]}, {"content": [2, 3]}], {"content": [1, 2, 3]}),
        ([{"content": [1], "refusal": None}] * 2, {"content": [1, 1], "refusal": None}),
        ([{"content": None}, {"content": [1]}], {"content": [1]}),
        ([{"content": [1]}, {"content": None}], {"content": [1]}),
        ([{"content": [1]}, {"content": []}], {"content": [1]}),
        (
            [{"tokens": ["a"], "text_offset": [0]}, {"tokens": ["b"], "text_offset": [1]}],
            {"tokens": ["a", "b"], "text_offset": [0, 1]},
        ),
    ],
)
def test_lists_of_logprobs_are_joined(
    given: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    assert expected == fold([Delta(logprobs=logprobs) for logprobs in given]).logprobs
