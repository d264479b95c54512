"""Chunks and results that LangChain gets from replies."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from mlxcel_integrations.langchain.replies import MessageChunks, to_result
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import ChatReply


def text_chunk(text: str) -> ChatGenerationChunk:
    (chunk,) = MessageChunks().add(Delta(text))
    return chunk


def test_the_fast_chunk_of_a_message_equals_the_validated_one() -> None:
    """It is built without validation, so nothing else would notice a new field of LangChain."""
    message = AIMessageChunk(content=" tok", response_metadata={"model_provider": "mlxcel"})
    expected = ChatGenerationChunk(message=message)

    actual = text_chunk(" tok")

    assert expected == actual
    assert expected.model_dump() == actual.model_dump()
    assert vars(expected.message) == vars(actual.message)


def test_fast_text_chunks_share_nothing_that_can_be_changed() -> None:
    one, other = text_chunk("a").message, text_chunk("b").message

    shared = [
        name
        for name, value in vars(one).items()
        if isinstance(value, list | dict | set) and value is vars(other)[name]
    ]
    assert [] == shared


def test_fast_text_chunks_merge_pickle_and_copy() -> None:
    one, other = text_chunk("a"), text_chunk("b")

    assert "ab" == (one + other).text
    assert "a" == one.model_copy(deep=True).message.content
    assert "ab" == (one.message + other.message).content  # type: ignore[operator]  # core's own types


def test_the_fast_result_equals_the_validated_one() -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in (("add", '{"a": 1}'), ("cut", '{"a'))
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    reply = ChatReply("Hi", "think", calls, "stop", usage, model="m", id="1")
    message = AIMessage(
        content="Hi",
        additional_kwargs={"reasoning_content": "think"},
        tool_calls=[tool_call(name="add", args={"a": 1}, id="add")],
        invalid_tool_calls=[
            invalid_tool_call(
                name="cut", args='{"a', id="cut", error="The arguments are not a JSON object."
            )
        ],
        response_metadata={
            "model_provider": "mlxcel",
            "model_name": "m",
            "finish_reason": "stop",
            "id": "1",
            "token_usage": usage,
        },
        usage_metadata={"input_tokens": 5, "output_tokens": 3, "total_tokens": 8},
    )
    output = {"model_name": "m", "token_usage": usage}
    expected = ChatResult(generations=[ChatGeneration(message=message)], llm_output=output)

    actual = to_result(reply)

    expected_parts = (expected, expected.generations[0], expected.generations[0].message)
    actual_parts = (actual, actual.generations[0], actual.generations[0].message)
    for one, other in zip(expected_parts, actual_parts, strict=True):
        assert one.__getstate__() == other.__getstate__()
    assert expected.model_dump() == actual.model_dump()


def test_fast_results_share_nothing_that_can_be_changed() -> None:
    one, other = to_result(ChatReply("a")), to_result(ChatReply("b"))

    states = [result.generations[0].message.__getstate__() for result in (one, other)]
    pairs = [*zip(*(state["__dict__"].values() for state in states), strict=True)]
    pairs.append(tuple(state["__pydantic_extra__"] for state in states))
    assert [] == [
        mine for mine, theirs in pairs if isinstance(mine, list | dict) and mine is theirs
    ]


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

    message = MessageChunks()
    chunks = [chunk for delta in deltas for chunk in message.add(delta)]
    merged = chunks[0] + [*chunks[1:], *message.finish(usage=True)]

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
