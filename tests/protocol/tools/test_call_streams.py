"""Answers that may be tool calls in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelStreamError
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import ChatReply, fold
from mlxcel_integrations.protocol.tools.call_streams import CallStream


def read_deltas(*parts: dict[str, Any], finish: str = "stop") -> list[Delta]:
    stream = CallStream(frozenset(["weather"]))
    frames: list[Any] = [{"choices": [{"delta": part, "finish_reason": None}]} for part in parts]
    frames.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    data = b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)
    return stream.feed(data + b"data: [DONE]\n\n")


def read(text: str, finish: str = "stop", reasoning: str = "") -> ChatReply:
    half = len(text) // 2
    parts = [{"reasoning_content": reasoning}, {"content": text[:half]}, {"content": text[half:]}]
    return fold(read_deltas(*parts, finish=finish))


def test_a_call_in_json_becomes_a_tool_call() -> None:
    reply = read('{"name": "weather", "arguments": {"city": "Malmö"}}', reasoning="let me see")

    assert ("", "let me see", "tool_calls") == (reply.text, reply.reasoning, reply.finish_reason)
    assert reply.tool_calls is not None
    (call,) = reply.tool_calls
    assert call["id"].startswith("call_")
    function = {"name": "weather", "arguments": '{"city": "Malmö"}'}
    assert {"id": call["id"], "type": "function", "function": function} == call


def test_a_call_in_json_streams_as_one_part_in_the_form_of_openai() -> None:
    """Whoever puts streamed parts together needs the number, the id and the type of the call."""
    (delta,) = read_deltas({"content": '{"name": "weather", "arguments": {}}'})

    assert delta.tool_calls is not None
    function = {"name": "weather", "arguments": "{}"}
    part = {"index": 0, "id": delta.tool_calls[0]["id"], "type": "function", "function": function}
    assert Delta(tool_calls=[part], finish_reason="tool_calls") == delta


def test_two_calls_have_two_names() -> None:
    text = '{"name": "weather", "arguments": {}}'
    calls = [read(text).tool_calls, read(text).tool_calls]

    assert 2 == len({call[0]["id"] for call in calls if call})


def test_a_call_where_the_thoughts_belong_is_found() -> None:
    reply = read("", reasoning='{"name": "weather", "arguments": {}}')

    assert reply.tool_calls
    assert "weather" == reply.tool_calls[0]["function"]["name"]


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        ('{"n": 1}', "stop"),
        ('{"na', "length"),
        ('{"name": "weather', "length"),
        ('{"name": "weather", "arguments": [1]}', "stop"),
        ('{"name": "other", "arguments": {}}', "stop"),
        ('{"name": ["x"], "arguments": {}}', "stop"),
        ('["name", "arguments"]', "stop"),
        ('{"name": "weather", "arguments": {}, "why": ""}', "stop"),
    ],
)
def test_what_is_no_call_is_passed_on_as_text(text: str, finish: str) -> None:
    reply = read(text, finish)

    assert (text, None, finish) == (reply.text, reply.tool_calls, reply.finish_reason)


def test_json_of_endless_depth_is_left_and_passed_on_as_text() -> None:
    reply = read("[" * 100_000, "length")

    assert {"["} == set(reply.text)
    assert (None, "repetition") == (reply.tool_calls, reply.finish_reason)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name": "weather"', "{"),
        ('{"name": "weather", "argum', "{"),
        ('{"name": "weather", "arguments":', "{"),
        (' {"name":"weather","arguments":{"city": "Os', '{"city": "Os'),
        ('{"name": "weather", "arguments": {"city": "Oslo"}', '{"city": "Oslo"}'),
    ],
)
@pytest.mark.parametrize("finish", ["length", "stop"])
def test_a_call_that_was_cut_is_a_call_whose_arguments_are_cut(
    text: str, arguments: str, finish: str
) -> None:
    reply = read(text, finish)

    assert ("", finish) == (reply.text, reply.finish_reason)
    assert reply.tool_calls
    assert {"name": "weather", "arguments": arguments} == reply.tool_calls[0]["function"]


@pytest.mark.parametrize("text", ["", "Wait.", '{"name": "weather", "arguments": {}}'])
def test_calls_that_the_server_has_read_itself_stay(text: str) -> None:
    """They are all that is called: text beside them is text, whatever it looks like."""
    function = {"name": "weather", "arguments": "{}"}
    part = {"index": 0, "id": "c", "function": function}
    reply = fold(read_deltas({"tool_calls": [part]}, {"content": text}, finish="tool_calls"))

    assert (text, "tool_calls") == (reply.text, reply.finish_reason)
    assert [{"id": "c", "type": "function", "function": function}] == reply.tool_calls


def test_a_text_of_another_type_is_an_error() -> None:
    stream = CallStream(frozenset(["weather"]))
    stream.feed(b'data: {"choices": [{"delta": {"content": 7}}]}\n\n')

    with pytest.raises(MlxcelStreamError, match="unknown shape"):
        stream.close()


def test_a_broken_answer_keeps_what_was_held_back() -> None:
    stream = CallStream(frozenset(["weather"]))
    stream.feed(b'data: {"choices": [{"delta": {"content": "{\\"na"}}]}\n\n')

    with pytest.raises(MlxcelStreamError) as caught:
        stream.close()
    assert '{"na' == caught.value.partial
