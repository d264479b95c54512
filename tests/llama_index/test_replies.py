"""Replies of a server become LlamaIndex's responses."""

from __future__ import annotations

import copy
import pickle
import time
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LogProb,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.callbacks.token_counting import get_tokens_from_response

from mlxcel_integrations.llama_index.replies import (
    ChatChunks,
    CompletionChunks,
    to_chat_response,
    to_completion_response,
)
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import ChatReply, fold

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 3,
    "total_tokens": 8,
    "completion_tokens_details": {"reasoning_tokens": 1},
}
COUNTS = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
END = [
    Delta(finish_reason="stop", model="m", id="chatcmpl-1", timings={"predicted_ms": 1.5}),
    Delta(usage=USAGE),
]


def chunks(*deltas: Delta) -> list[ChatResponse]:
    making = ChatChunks()
    made = [making.add(delta) for delta in deltas]
    return [chunk for chunk in made if chunk is not None] + [making.last()]


def test_the_fast_chunk_of_a_chat_equals_the_validated_one() -> None:
    """It is built without validation, so nothing else would notice a new field of LlamaIndex."""
    expected = ChatResponse(message=ChatMessage(role="assistant", content="a b"), delta=" b")

    actual = chunks(Delta("a"), Delta(" b"))[1]

    assert expected == actual
    assert expected.model_dump() == actual.model_dump()
    assert expected.model_dump(exclude_unset=True) == actual.model_dump(exclude_unset=True)
    assert vars(expected.message) == vars(actual.message)
    assert repr(expected.message.blocks) == repr(actual.message.blocks)
    assert expected == pickle.loads(pickle.dumps(actual)) == copy.deepcopy(actual)


def test_the_fast_completion_chunk_equals_the_validated_one() -> None:
    expected = CompletionResponse(text="a", delta="a")

    actual = CompletionChunks().add(Delta("a"))

    assert actual is not None
    assert expected == actual
    assert expected.model_dump(exclude_unset=True) == actual.model_dump(exclude_unset=True)


def test_chunks_share_nothing_that_can_be_changed() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}
    texts = chunks(Delta("a"), Delta("b"))
    calls = chunks(Delta(tool_calls=[call]), Delta(tool_calls=[more]))

    for one, other in (texts[:2], calls[:2]):
        for left, right in ((one, other), (one.message, other.message)):
            shared = [
                name
                for name, value in vars(left).items()
                if isinstance(value, list | dict) and value is vars(right)[name]
            ]
            assert [] == shared
    arguments = [
        chunk.message.additional_kwargs["tool_calls"][0]["function"]["arguments"] for chunk in calls
    ]
    assert ["{", "{}", "{}"] == arguments


def test_every_chunk_holds_all_that_has_come() -> None:
    made = chunks(Delta(reasoning="let"), Delta(reasoning=" me"), Delta("Hi"), Delta(" you"), *END)

    told = [(c.message.content, c.delta, c.additional_kwargs.get("thinking_delta")) for c in made]
    assert [
        ("", "", "let"),
        ("", "", " me"),
        ("Hi", "Hi", None),
        ("Hi you", " you", None),
        ("Hi you", "", None),
    ] == told
    thoughts = [block for c in made for block in c.message.blocks if block.block_type == "thinking"]
    assert ["let", "let me", "let me", "let me", "let me"] == [b.content for b in thoughts]
    assert [None, None, None, None, 1] == [b.num_tokens for b in thoughts]


def test_the_last_chunk_is_the_whole_answer() -> None:
    deltas = [
        Delta(reasoning="think"),
        Delta("Hi"),
        Delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}]),
        Delta(tool_calls=[{"index": 0, "function": {"arguments": '": 1}'}}]),
        *END,
    ]

    whole, last = to_chat_response(fold(deltas)), chunks(*deltas)[-1]

    assert whole == last.model_copy(update={"delta": None})
    assert [
        ThinkingBlock(content="think", num_tokens=1),
        TextBlock(text="Hi"),
        ToolCallBlock(tool_call_id="c", tool_name="f", tool_kwargs={"a": 1}),
    ] == whole.message.blocks
    assert COUNTS == whole.additional_kwargs
    assert {
        "id": "chatcmpl-1",
        "model": "m",
        "finish_reason": "stop",
        "usage": USAGE,
        "timings": {"predicted_ms": 1.5},
    } == whole.raw
    assert (5, 3) == get_tokens_from_response(whole) == get_tokens_from_response(last)


def test_calls_grow_with_their_arguments_and_several_are_kept_apart() -> None:
    def part(index: int, arguments: str, **more: Any) -> Delta:
        return Delta(
            tool_calls=[{"index": index, "function": {"arguments": arguments, **more}, "id": "c"}]
        )

    made = chunks(part(0, "", name="f"), part(0, '{"a"'), part(0, ": 1}"), part(1, "{}", name="g"))

    calls = [
        [(b.tool_name, b.tool_kwargs) for b in c.message.blocks if isinstance(b, ToolCallBlock)]
        for c in made
    ]
    assert [
        [("f", "")],
        [("f", '{"a"')],
        [("f", '{"a": 1}')],
        [("f", '{"a": 1}'), ("g", "{}")],
        [("f", {"a": 1}), ("g", {})],
    ] == calls
    assert [None] * 5 == [chunk.message.content for chunk in made]
    names = [c["function"]["name"] for c in made[-1].message.additional_kwargs["tool_calls"]]
    assert ["f", "g"] == names


def test_chunks_of_the_text_after_calls_share_the_calls() -> None:
    """A thousand calls and a thousand pieces of text would be a million objects."""
    call = Delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}])

    first, second = (chunk.message for chunk in chunks(call, Delta("a"), Delta("b"))[1:3])

    assert ["a", "ab"] == [first.content, second.content]
    assert first.blocks[-1] is second.blocks[-1]
    ours, theirs = (message.additional_kwargs["tool_calls"] for message in (first, second))
    assert ours == theirs
    assert ours is not theirs
    assert ours[0] is theirs[0]


@pytest.mark.parametrize("arguments", ["", "{}", '{"path": "a.txt"}'])
def test_many_calls_are_each_shown_in_few_chunks(arguments: str) -> None:
    """Each chunk holds all calls so far, also those without arguments, which never grow."""

    def blocks_for_each_call(count: int) -> float:
        calls = [
            {"index": index, "id": f"c{index}", "function": {"name": "f", "arguments": arguments}}
            for index in range(count)
        ]
        made = chunks(*[Delta(tool_calls=[call]) for call in calls])
        return sum(len(chunk.message.blocks) for chunk in made) / count

    few, many = blocks_for_each_call(100), blocks_for_each_call(2000)
    assert many < 2 * few < 50


@pytest.mark.parametrize("arguments", ['{"city": "Par', "[1]", "null"])
def test_arguments_that_are_no_object_stay_text(arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}

    (block,) = to_chat_response(ChatReply(tool_calls=[call])).message.blocks

    assert isinstance(block, ToolCallBlock)
    assert arguments == block.tool_kwargs


def test_an_empty_answer_has_an_empty_text() -> None:
    assert [""] == [chunk.message.content for chunk in chunks()]
    assert "" == to_chat_response(ChatReply(reasoning="hm")).message.content


CHAT_LOGPROBS = {
    "content": [
        {
            "token": "Hi",
            "logprob": -0.25,
            "bytes": [72, 105],
            "top_logprobs": [
                {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
                {"token": "Ho", "logprob": -2.0},
            ],
        }
    ]
}
COMPLETION_LOGPROBS = {
    "tokens": ["Hi", "!"],
    "token_logprobs": [-0.25, -1.0],
    "top_logprobs": [{"Hi": -0.25, "Ho": -2.0}],
    "text_offset": [0, 2],
}
HI = [LogProb(token="Hi", logprob=-0.25, bytes=[72, 105]), LogProb(token="Ho", logprob=-2.0)]


def test_logprobs_are_llama_indexes_own() -> None:
    chunk = chunks(Delta("Hi", logprobs=CHAT_LOGPROBS))[0]
    whole = to_chat_response(ChatReply("Hi", logprobs=CHAT_LOGPROBS))
    text = to_completion_response(ChatReply("Hi!", logprobs=COMPLETION_LOGPROBS))

    assert [HI] == chunk.logprobs == whole.logprobs
    assert CHAT_LOGPROBS == (whole.raw or {})["logprobs"]
    plain = [[p.model_copy(update={"bytes": []}) for p in HI], [LogProb(token="!", logprob=-1.0)]]
    assert plain == text.logprobs
    assert [HI] == to_completion_response(ChatReply("Hi", logprobs=CHAT_LOGPROBS)).logprobs
    assert [] == to_chat_response(ChatReply(logprobs={"content": None})).logprobs


def test_a_completion_holds_its_text_and_the_counts_at_its_end() -> None:
    making = CompletionChunks()
    made = [making.add(delta) for delta in (Delta("a"), Delta("b"), *END)]

    assert [("a", "a"), ("ab", "b")] == [(c.text, c.delta) for c in made if c is not None]
    last = making.last()
    assert ("ab", "", COUNTS) == (last.text, last.delta, last.additional_kwargs)
    whole = to_completion_response(fold([Delta("ab"), *END]))
    assert whole == last.model_copy(update={"delta": None})


def test_a_long_answer_costs_no_more_for_each_chunk() -> None:
    """The text is kept whole in each chunk, which must not be paid for by joining it anew."""

    def seconds(count: int) -> float:
        making, delta = ChatChunks(), Delta(" token")
        start = time.process_time()
        for _ in range(count):
            making.add(delta)
        return time.process_time() - start

    seconds(100)
    assert min(seconds(10_000) for _ in range(3)) < 10 * 5 * min(seconds(1000) for _ in range(3))
