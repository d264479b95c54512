"""Thoughts that are streamed before an answer: what is handed on, and where the stream is left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.thought_stream import ThoughtStream


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], 'model': 'm'})}\n\n".encode()


def thought(text: str) -> bytes:
    return event({"reasoning_content": text})


def text(text: str) -> bytes:
    return event({"content": text})


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7}}\n\n'
DONE = b"data: [DONE]\n\n"
CALL = event({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f"}}]})


@pytest.mark.parametrize(
    ("events", "expected", "left"),
    [
        ([thought("a"), thought(" b"), text("c")], "a b", True),
        ([thought("a"), text("\n\n"), thought("b"), text("c")], "ab", True),
        ([thought("a"), CALL], "a", True),
        ([thought("a"), event({}, "length"), USAGE, DONE], "a", False),
        ([event({}, "stop"), DONE], "", False),
        ([text("c"), thought("late")], "", True),
        ([thought('{"a": 1}'), text("c")], '{"a": 1}', True),
    ],
)
def test_it_ends_where_the_answer_begins(events: list[bytes], expected: str, left: bool) -> None:
    stream = ThoughtStream()

    deltas = [delta for piece in events if not stream.done for delta in stream.feed(piece)]
    stream.close()

    assert (expected, left, True) == (stream.thoughts, stream.left, stream.done)
    assert all(delta == Delta(reasoning=delta.reasoning) for delta in deltas)
    assert expected == "".join(delta.reasoning for delta in deltas)


def test_tokens_are_those_of_the_server_or_else_counted() -> None:
    told, counted = ThoughtStream(), ThoughtStream()

    told.feed(thought("a") + event({}, "length") + USAGE)
    # Four bytes of one character may be four tokens.
    counted.feed(thought("a") + thought("🎉") + text("c"))

    assert (7, 5) == (told.tokens, counted.tokens)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["It", " is", " 5 [m].", '{"a"'], "It is 5 [m]."),
        (["It is", " so: {"], "It is so: "),
        (["It", "```json"], "It"),
        (["\n\n[1"], ""),
        ([" 5"], ""),
        (["It"], "It"),
    ],
)
def test_a_server_that_does_not_separate_thoughts_sends_them_until_json_begins(
    pieces: list[str], expected: str
) -> None:
    stream = ThoughtStream(separates=False)

    for piece in pieces:
        if not stream.done:
            stream.feed(text(piece))

    assert expected == stream.thoughts


def test_thoughts_that_a_server_separates_once_are_separated_from_then_on() -> None:
    stream = ThoughtStream(separates=False)

    stream.feed(thought("a") + text("It is"))

    assert ("a", True) == (stream.thoughts, stream.left)
