"""What reads a server's words takes time in proportion to their length, whatever they are.

Four times as much may take about four times as long. Sixteen times would be quadratic.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from mlxcel_integrations.errors import MlxcelStreamError, StructuredOutputError
from mlxcel_integrations.langchain.replies import MessageChunks
from mlxcel_integrations.llama_index.replies import ChatChunks
from mlxcel_integrations.protocol.answers.chat_streams import (
    ChatStream,
    SchemaStream,
)
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import fold
from mlxcel_integrations.protocol.answers.sse import MAX_EVENT_BYTES, SSEDecoder
from mlxcel_integrations.protocol.answers.stream import DeltaStream
from mlxcel_integrations.protocol.tools.call_streams import CallStream, PromptedStream
from mlxcel_integrations.structured.answer_stream import AnswerStream
from mlxcel_integrations.structured.partial_json import IncrementalJSON
from mlxcel_integrations.structured.type_schema import to_schema


class Record(pydantic.BaseModel):
    text: str = ""
    numbers: list[int] = []


def seconds(work: Callable[[], object]) -> float:
    """Return the time of this thread alone: tests share the machine with others."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def assert_linear(read: Callable[[int], object], size: int) -> None:
    """Read some size and a quarter of it, twice each."""
    quarter = min(seconds(lambda: read(size // 4)) for _ in range(2))
    whole = min(seconds(lambda: read(size)) for _ in range(2))

    assert whole < 10 * quarter + 0.01


# --------------------------------------------------------------------------- event streams

PIECES: dict[str, tuple[bytes, bytes, bytes]] = {
    "one line": (b"data: ", b"x", b"\n\n"),
    "a comment": (b":", b"x", b"\n\n"),
    "empty lines": (b"", b"\n", b""),
    "returns": (b"", b"\r", b""),
    "empty data lines": (b"", b"data\n", b"\n"),
    "a return before each end": (b"", b"data: x\r\n", b"\r\n"),
}


@pytest.mark.parametrize("name", PIECES)
def test_an_event_stream_in_single_bytes_takes_linear_time(name: str) -> None:
    before, repeated, after = PIECES[name]

    def read(size: int) -> None:
        decoder = SSEDecoder()
        whole = before + repeated * (size // len(repeated)) + after
        for at in range(len(whole)):
            decoder.feed(whole[at : at + 1])

    assert_linear(read, 60_000)


def test_a_line_of_32_megabytes_is_refused_once_its_limit_is_reached() -> None:
    decoder, fed = SSEDecoder(), 0

    def read() -> None:
        nonlocal fed
        decoder.feed(b"data: ")
        while fed < 2 * MAX_EVENT_BYTES:
            decoder.feed(b"x" * 65536)
            fed += 65536

    with pytest.raises(MlxcelStreamError, match=f"more than {MAX_EVENT_BYTES} bytes"):
        read()
    assert fed <= MAX_EVENT_BYTES


CHATS: dict[str, tuple[Callable[[], DeltaStream], dict[str, object]]] = {
    "text": (ChatStream, {"content": "x"}),
    "thoughts": (SchemaStream, {"reasoning_content": "x"}),
    "a call in text": (lambda: CallStream(frozenset({"f"})), {"content": "x"}),
    "a call or text of prompted tools": (
        lambda: PromptedStream(frozenset({"f"}), ["y"]),
        {"content": "x"},
    ),
    "parts of a call": (ChatStream, {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}),
    "many calls": (ChatStream, {"tool_calls": [{"id": "a", "function": {"name": "f"}}]}),
}


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("finish", [None, "stop"], ids=["at the end", "again and again"])
def test_an_answer_of_many_events(name: str, finish: str | None) -> None:
    make, delta = CHATS[name]
    event = json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}).encode()

    def read(count: int) -> None:
        stream = make()
        deltas = [one for _ in range(count) for one in stream.feed(b"data: " + event + b"\n\n")]
        fold(deltas + stream.feed(b"data: [DONE]\n\n"))

    assert_linear(read, 4_000)


# --------------------------------------------------------------------------- deltas

ARGUMENTS = Delta(tool_calls=[{"index": 0, "function": {"name": "", "arguments": "x" * 200}}])
TOKEN = Delta("x", logprobs={"content": [{"token": "x", "logprob": -1.0}]})


def final_chunks(deltas: list[Delta]) -> object:
    chunks = MessageChunks()
    for delta in deltas:
        chunks.add(delta)
    return chunks.finish(usage=True)


def shown_chunks(deltas: list[Delta]) -> object:
    chunks = ChatChunks()
    for delta in deltas:
        chunks.add(delta)
    return chunks.last()


@pytest.mark.parametrize("delta", [ARGUMENTS, TOKEN], ids=["arguments", "log probabilities"])
@pytest.mark.parametrize("read", [fold, final_chunks, shown_chunks])
def test_many_deltas_take_linear_time(read: Callable[[list[Delta]], object], delta: Delta) -> None:
    assert_linear(lambda count: read([delta] * count), 8_000)


# LangChain cannot repair them, and takes very long to find that out.
BEYOND_REPAIR = {
    "white space": ("", " "),
    "after a comma": ('{"a": 1,', "\n "),
    "between texts": ('{"a"', " ", '"b'),
    "after a bracket": ('{"a": [1,', " "),
}


@pytest.mark.parametrize("parts", BEYOND_REPAIR.values(), ids=BEYOND_REPAIR)
def test_cut_arguments_that_langchain_merges(
    parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, repeated, end = (*parts, "")[:3]
    pieces = [begin, *[repeated * 8] * 200, end]
    message, chunks = MessageChunks(), []
    for piece in pieces:
        part = {"index": 0, "function": {"name": "", "arguments": piece}}
        chunks += message.add(Delta(tool_calls=[part]))
    tried = []

    def loads(text: str, **options: Any) -> Any:
        tried.append(text)
        return json.loads(text, **options)

    module = SimpleNamespace(loads=loads, JSONDecodeError=json.JSONDecodeError)
    monkeypatch.setattr("langchain_core.utils.json.json", module)
    first, *rest = [chunk.message for chunk in chunks + message.finish(usage=True)]
    merged = first.__add__(rest)

    assert 1 == len(merged.invalid_tool_calls)
    # Its repair drops one character after the other, and reads what is left each time.
    assert len(tried) < 10


def test_chunks_with_arguments_hold_little_more_than_the_last_of_them() -> None:
    """Each holds all arguments so far, so that there may not be one for every delta."""

    def characters(count: int) -> int:
        chunks = ChatChunks()
        made = [chunks.add(ARGUMENTS) for _ in range(count)]
        calls = [each.message.additional_kwargs["tool_calls"] for each in made if each is not None]
        return sum(len(call["function"]["arguments"]) for (call,) in calls)

    assert characters(4_000) < 6 * characters(1_000)


# --------------------------------------------------------------------------- JSON

GROWING: dict[str, tuple[str, str, str]] = {
    "a text": ('{"text": "', "x", '"}'),
    "escapes": ('{"text": "', "\\n", '"}'),
    "pairs": ('{"text": "', "\\ud83c\\udf89", '"}'),
    "a number": ('{"numbers": [', "1", "]}"),
    "a word": ('{"numbers": [', "true", "]}"),
    "numbers": ('{"numbers": [0', ",12", "]}"),
    "space": ("{", " ", "}"),
    "keys": ('{"a": 0', ', "abc": 1', "}"),
    "a key": ('{"', "x", '": 0}'),
    "brackets": ("", "[", ""),
    "braces": ("", '{"a":', ""),
}


@pytest.mark.parametrize("name", GROWING)
def test_json_in_single_characters_takes_linear_time(name: str) -> None:
    before, repeated, after = GROWING[name]

    def read(size: int) -> None:
        parser = IncrementalJSON()
        with contextlib.suppress(ValueError):
            for char in before + repeated * (size // len(repeated)) + after:
                parser.feed(char)

    assert_linear(read, 40_000)


@pytest.mark.parametrize("name", GROWING)
def test_a_long_answer_with_a_schema_in_single_characters(name: str) -> None:
    before, repeated, after = GROWING[name]
    schema = to_schema(Record)

    def read(size: int) -> None:
        stream = AnswerStream(schema, partial=True)
        for char in before + repeated * (size // len(repeated)) + after:
            for _ in stream.feed(Delta(char)):
                pass
        with contextlib.suppress(StructuredOutputError):
            stream.close()

    assert_linear(read, 24_000)
