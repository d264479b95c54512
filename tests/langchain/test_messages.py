"""What goes between LangChain's messages and the wire."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGenerationChunk

from mlxcel_integrations import MlxcelError, MlxcelServerError
from mlxcel_integrations.langchain.messages import (
    Tail,
    counted_apart,
    to_chunk,
    to_result,
    to_wire,
)
from mlxcel_integrations.protocol.stream import ChatReply, Delta

CALL = {"name": "get_weather", "args": {"city": "Paris"}, "id": "call_1", "type": "tool_call"}
WIRE_CALL = {
    "type": "function",
    "id": "call_1",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (HumanMessage("hi"), {"role": "user", "content": "hi"}),
        (SystemMessage("be brief"), {"role": "system", "content": "be brief"}),
        (AIMessage("hello"), {"role": "assistant", "content": "hello"}),
        (HumanMessage("hi", name="Ann"), {"role": "user", "content": "hi", "name": "Ann"}),
        (
            HumanMessage([{"type": "text", "text": "hi"}]),
            {"role": "user", "content": "hi"},
        ),
        (
            AIMessage("", tool_calls=[CALL]),
            {"role": "assistant", "content": "", "tool_calls": [WIRE_CALL]},
        ),
        (
            ToolMessage("sunny", tool_call_id="call_1"),
            {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
        ),
    ],
)
def test_messages_become_openai_messages(message: BaseMessage, expected: dict[str, Any]) -> None:
    assert [expected] == to_wire([message])


def test_the_fast_text_chunk_equals_the_validated_one() -> None:
    """It is built without validation, so nothing else would notice a new field of LangChain."""
    message = AIMessageChunk(content=" tok", response_metadata={"model_provider": "mlxcel"})
    expected = ChatGenerationChunk(message=message)

    actual = to_chunk(Delta(" tok"))

    assert expected == actual
    assert expected.model_dump() == actual.model_dump()
    assert vars(expected.message) == vars(actual.message)


def test_fast_text_chunks_share_nothing_that_can_be_changed() -> None:
    one, other = to_chunk(Delta("a")).message, to_chunk(Delta("b")).message

    shared = [
        name
        for name, value in vars(one).items()
        if isinstance(value, list | dict | set) and value is vars(other)[name]
    ]
    assert [] == shared


def test_fast_text_chunks_merge_pickle_and_copy() -> None:
    one, other = to_chunk(Delta("a")), to_chunk(Delta("b"))

    assert "ab" == (one + other).text
    assert "a" == one.model_copy(deep=True).message.content
    assert "ab" == (one.message + other.message).content  # type: ignore[operator]  # core's own types


def test_merging_all_chunks_gives_what_invoke_gives() -> None:
    logprobs = {"content": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105]}]}
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    deltas = [
        Delta(reasoning="think"),
        Delta("Hi", logprobs=logprobs),
        Delta(" you"),
        Delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]),
        Delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a": 1}'}}]),
        Delta(finish_reason="stop", model="m", id="chatcmpl-1", timings={"predicted_ms": 1.5}),
        Delta(usage=usage),
    ]
    reply = ChatReply(
        text="Hi you",
        reasoning="think",
        tool_calls=[{"id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        finish_reason="stop",
        usage=usage,
        timings={"predicted_ms": 1.5},
        logprobs=logprobs,
        model="m",
        id="chatcmpl-1",
    )

    tail = Tail()
    chunks = [to_chunk(delta) for delta in deltas if tail.take(delta)]
    merged = chunks[0] + [*chunks[1:], tail.chunk(usage=True)]

    expected = to_result(reply).generations[0].message
    for name in ("text", "additional_kwargs", "response_metadata", "usage_metadata", "tool_calls"):
        assert getattr(expected, name) == getattr(merged.message, name)
    assert "last" == merged.message.chunk_position  # type: ignore[attr-defined]  # AIMessageChunk's


@pytest.mark.parametrize("arguments", ["{", "[1]", "null"])
def test_arguments_that_are_no_object_are_kept_as_an_invalid_call(arguments: str) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}

    message = to_result(ChatReply(tool_calls=[call])).generations[0].message

    assert isinstance(message, AIMessage)
    assert [] == message.tool_calls
    assert [(arguments, "f", "c")] == [
        (call["args"], call["name"], call["id"]) for call in message.invalid_tool_calls
    ]


def test_messages_are_counted_apart_as_those_of_a_user() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": None, "tool_calls": [WIRE_CALL]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [image]},
    ]
    sampling = {"temperature": 0, "tools": ["tool"]}

    parts = counted_apart(messages, sampling, MlxcelError("no conversation"))

    assert {"user"} == {message["role"] for part, _ in parts for message in part}
    contents = [part[0]["content"] for part, _ in parts]
    assert "Be brief." == contents[0]
    assert "get_weather" in contents[1]
    assert contents[2]
    assert image == contents[3][0]
    assert [sampling, *[{"temperature": 0}] * 3] == [more for _, more in parts]


def test_a_server_that_fails_is_not_asked_for_each_message() -> None:
    with pytest.raises(MlxcelServerError, match="lost"):
        counted_apart([{"role": "user", "content": "x"}], {}, MlxcelServerError("lost"))
