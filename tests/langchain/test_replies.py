"""Chunks and results that LangChain gets from replies."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
)
from langchain_core.outputs import ChatGenerationChunk

from mlxcel_integrations.langchain.replies import FinalChunk, to_chunk, to_result
from mlxcel_integrations.protocol.reply import ChatReply
from mlxcel_integrations.protocol.stream import Delta


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

    final = FinalChunk()
    for delta in deltas:
        final.collect(delta)
    chunks = [chunk for delta in deltas if (chunk := to_chunk(delta)) is not None]
    merged = chunks[0] + [*chunks[1:], *final.chunks(usage=True)]

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
