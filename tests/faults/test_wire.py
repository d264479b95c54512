"""What can go wrong on the wire, seen from every class that a user asks.

One table for all: what the server does, what comes out, what had arrived, how often it was asked.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from langchain_core.exceptions import ModelError
from llama_index.core.llms import ChatMessage

from mlxcel_integrations import LLM, AsyncLLM, MlxcelStreamError
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel
from tests.fake_replies import dumps, event
from tests.fake_server import FakeServer, Reply

LIMITS = {"timeout": 0.3, "max_retries": 2}
TOO_LONG = 17 * 1024 * 1024

# --------------------------------------------------------------------------- who asks

Face = Callable[[str], tuple[str, BaseException | None]]
"""Asks the server at an address; returns the text that came, and how it ended."""


def ended(pieces: Iterator[str]) -> tuple[str, BaseException | None]:
    text = ""
    try:
        for piece in pieces:
            text += piece
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return text, error
    return text, None


async def gathered(pieces: Any) -> tuple[str, BaseException | None]:
    text = ""
    try:
        async for piece in pieces:
            text += piece
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return text, error
    return text, None


def llm_chat(url: str) -> tuple[str, BaseException | None]:
    with LLM(base_url=url, **LIMITS) as llm:
        return ended(llm.chat("hi") for _ in "1")


def llm_stream(url: str) -> tuple[str, BaseException | None]:
    with LLM(base_url=url, **LIMITS) as llm:
        return ended(llm.chat_stream("hi"))


def async_llm_chat(url: str) -> tuple[str, BaseException | None]:
    async def ask() -> tuple[str, BaseException | None]:
        async with AsyncLLM(base_url=url, **LIMITS) as llm:
            return await gathered(await_one(llm.chat("hi")))

    return asyncio.run(ask())


def async_llm_stream(url: str) -> tuple[str, BaseException | None]:
    async def ask() -> tuple[str, BaseException | None]:
        async with AsyncLLM(base_url=url, **LIMITS) as llm:
            return await gathered(llm.chat_stream("hi"))

    return asyncio.run(ask())


async def await_one(answer: Any) -> Any:
    yield await answer


def langchain_invoke(url: str) -> tuple[str, BaseException | None]:
    with ChatMlxcel(base_url=url, **LIMITS) as llm:
        return ended(llm.invoke("hi").text for _ in "1")


def langchain_stream(url: str) -> tuple[str, BaseException | None]:
    with ChatMlxcel(base_url=url, **LIMITS) as llm:
        return ended(chunk.text for chunk in llm.stream("hi"))


def langchain_ainvoke(url: str) -> tuple[str, BaseException | None]:
    async def ask() -> tuple[str, BaseException | None]:
        async with ChatMlxcel(base_url=url, **LIMITS) as llm:
            return await gathered(message.text async for message in await_one(llm.ainvoke("hi")))

    return asyncio.run(ask())


def langchain_astream(url: str) -> tuple[str, BaseException | None]:
    async def ask() -> tuple[str, BaseException | None]:
        async with ChatMlxcel(base_url=url, **LIMITS) as llm:
            return await gathered(chunk.text async for chunk in llm.astream("hi"))

    return asyncio.run(ask())


HI = [ChatMessage(content="hi")]


def llama_index_chat(url: str) -> tuple[str, BaseException | None]:
    with Mlxcel(base_url=url, **LIMITS) as llm:
        return ended(llm.chat(HI).message.content or "" for _ in "1")


def llama_index_stream(url: str) -> tuple[str, BaseException | None]:
    with Mlxcel(base_url=url, **LIMITS) as llm:
        return ended(chunk.delta or "" for chunk in llm.stream_chat(HI))


def llama_index_achat(url: str) -> tuple[str, BaseException | None]:
    async def ask() -> tuple[str, BaseException | None]:
        llm = Mlxcel(base_url=url, **LIMITS)
        try:
            return await gathered(
                answer.message.content or "" async for answer in await_one(llm.achat(HI))
            )
        finally:
            await llm.aclose()

    return asyncio.run(ask())


def llama_index_astream(url: str) -> tuple[str, BaseException | None]:
    async def chunks(llm: Mlxcel) -> Any:
        async for chunk in await llm.astream_chat(HI):
            yield chunk.delta or ""

    async def ask() -> tuple[str, BaseException | None]:
        llm = Mlxcel(base_url=url, **LIMITS)
        try:
            return await gathered(chunks(llm))
        finally:
            await llm.aclose()

    return asyncio.run(ask())


FACES = [
    llm_chat,
    llm_stream,
    async_llm_chat,
    async_llm_stream,
    langchain_invoke,
    langchain_stream,
    langchain_ainvoke,
    langchain_astream,
    llama_index_chat,
    llama_index_stream,
    llama_index_achat,
    llama_index_astream,
]
WHOLE = {face for face in FACES if not face.__name__.endswith("stream")}
every_face = pytest.mark.parametrize("face", FACES, ids=[face.__name__ for face in FACES])


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


# --------------------------------------------------------------------------- what goes well


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, **more}]}


END = said("", finish_reason="stop")
TEXT = "Grüße \u2028 日本 🎉"


def lines(text: str, end: bytes) -> bytes:
    """Return an answer in which every line has another end, and every event all fields."""
    head = b"\xef\xbb\xbf: hello" + end
    first, last = dumps(said(text)), dumps(END)
    data = b"data: " + first[:1] + end + b"data:" + first[1:] + end
    more = b"event: message" + end + b"id: 1" + end + b"retry: 5" + end
    return head + more + data + end + b"data: " + last + end + end


GOOD = {
    "a finish reason without [DONE]": Reply.events([said(TEXT), END], done=False),
    "[DONE], and the connection stays open": Reply.events([said(TEXT), END], hold_open=True),
    "one byte at a time": Reply.events([said(TEXT), END], chunk_size=1),
    "lines that end with CR": Reply.events([lines(TEXT, b"\r")], done=False),
    "lines that end with CRLF": Reply.events([lines(TEXT, b"\r\n")], done=False),
    "comments": Reply.events([b": alive\n\n", said(TEXT), b":\n\n", END]),
    "no choices, null choices, unknown fields, a role alone": Reply.events(
        [
            {"choices": []},
            {"choices": None},
            {"surprise": {"choices": 1}, **said(TEXT)},
            {"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": []}}]},
            END,
        ]
    ),
    "no usage": Reply.events([said(TEXT), END]),
}


@every_face
@pytest.mark.parametrize("name", GOOD)
def test_an_answer_in_an_odd_form_is_an_answer(server: FakeServer, face: Face, name: str) -> None:
    server.script(GOOD[name])

    assert (TEXT, None) == face(server.url)
    assert 1 == len(server.posts)


# --------------------------------------------------------------------------- what does not


@dataclass(frozen=True)
class Fault:
    """What a server does, and what must come of it.

    Attributes:
        reply: What the server answers.
        error: The class of the exception.
        says: What its message matches.
        partial: The text that had arrived, None for an error that comes before any answer.
        posts: How often the server is asked.
    """

    reply: Reply
    error: type[Exception]
    says: str
    partial: str | None = None
    posts: int = 1


def cut(at: int, chunked: bool) -> Reply:
    """Return two events of which the second is cut after some of its bytes."""
    whole = len(event(dumps(said("ab"))))
    return Reply.events([said("ab"), said("日本"), END], cut_after=whole + at, chunked=chunked)


SECOND = event(dumps(said("日本")))
INSIDE = SECOND.index("日".encode()) + 1
SOON = {"retry-after": "0"}
BUSY = Reply.error(503, "busy", "server_busy", headers=SOON)
LOADING = Reply.json({"error": {"message": "Loading model", "type": "unavailable_error"}}, 503)
STATUS = {"retry-after": "0"}

FAULTS = {
    **{
        f"cut {where}, {'chunked' if chunked else 'until closed'}": Fault(
            cut(at, chunked), MlxcelStreamError, "cut short", "ab"
        )
        for where, at in (
            ("between events", 0),
            ("within JSON", 20),
            ("within a character", INSIDE),
            ("before the last line end", len(SECOND) - 1),
        )
        for chunked in (True, False)
    },
    "no finish reason": Fault(
        Reply.events([said("ab")], done=False), MlxcelStreamError, "cut short", "ab"
    ),
    "an event that is no JSON": Fault(
        Reply.events([said("ab"), "{'a'}"]), MlxcelStreamError, "not a JSON object", "ab"
    ),
    "an event of another shape": Fault(
        Reply.events([said("ab"), {"choices": [7]}]), MlxcelStreamError, "unknown shape", "ab"
    ),
    "an error within the stream": Fault(
        Reply.events([said("ab"), {"error": {"message": "out of memory"}}]),
        MlxcelStreamError,
        "gave up the answer: out of memory",
        "ab",
    ),
    "a failed generation": Fault(
        Reply.text("a b", finish="error"), MlxcelStreamError, "the generation failed", "a b"
    ),
    "a line without an end": Fault(
        Reply.events([said("ab"), b"data: " + b"x" * TOO_LONG]),
        MlxcelStreamError,
        "more than [0-9]+ bytes",
        "ab",
    ),
    "silence after a token": Fault(
        Reply.events([said("ab")], done=False, hold_open=True),
        MlxcelStreamError,
        r"silent for 0.3 s \(timeout=\)",
        "ab",
    ),
    "empty deltas without an end": Fault(
        Reply.events([said("ab"), *[said("")] * 20], delay=0.05),
        MlxcelStreamError,
        r"silent for 0.3 s \(timeout=\)",
        "ab",
    ),
    "comments without an end": Fault(
        Reply.events([said("ab"), *[b":\n\n"] * 20], delay=0.05),
        MlxcelStreamError,
        r"silent for 0.3 s \(timeout=\)",
        "ab",
    ),
    "silence": Fault(Reply.hang(), openai.APITimeoutError, r"within 0.3 s \(timeout=\)"),
    "a page of a web server": Fault(
        Reply.plain(200, "<html>", "text/html"), MlxcelStreamError, "text/html.*<html>", ""
    ),
    "no content type, and nothing": Fault(
        Reply.plain(200), MlxcelStreamError, "no content type", ""
    ),
    "JSON instead of a stream": Fault(
        Reply.json({"choices": []}), MlxcelStreamError, "application/json", ""
    ),
    "gzip that is none": Fault(
        Reply.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
            b"connection: close\r\n\r\n" + event(dumps(said("ab")))
        ),
        MlxcelStreamError,
        "cut short",
        "",
    ),
    "a connection that is closed": Fault(
        Reply.close(), openai.APIConnectionError, "Lost the connection"
    ),
    "half a head": Fault(
        Reply.raw(b"HTTP/1.1 200 O"), openai.APIConnectionError, "Lost the connection"
    ),
    "no HTTP": Fault(
        Reply.raw(b"SSH-2.0-OpenSSH\r\n\r\n"), openai.APIConnectionError, "Lost the connection"
    ),
    "a body that never comes": Fault(
        Reply.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
        MlxcelStreamError,
        "cut short",
        "",
    ),
    "busy all along": Fault(BUSY, openai.InternalServerError, "answered 503: busy", posts=3),
    "too many requests": Fault(
        Reply.error(429, "slow down", headers=SOON), openai.RateLimitError, "429", posts=3
    ),
    "a failure": Fault(
        Reply.error(500, "boom", "server_error"), openai.InternalServerError, "500: boom"
    ),
    "a worker that died": Fault(
        Reply.error(503, "worker died", "server_error"), openai.InternalServerError, "worker died"
    ),
    "a wrong key": Fault(
        Reply.error(401, "Invalid API key"), openai.AuthenticationError, "MLXCEL_API_KEY"
    ),
    "a body that is too large": Fault(
        Reply.plain(413, "length limit exceeded"), openai.APIStatusError, "413: length limit"
    ),
    "a redirect": Fault(
        Reply.plain(302, "elsewhere", headers={"location": "http://127.0.0.1:9/"}),
        openai.APIStatusError,
        "302",
    ),
}


@every_face
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_and_keeps_what_had_arrived(
    server: FakeServer, face: Face, name: str
) -> None:
    fault = FAULTS[name]
    server.script(*[fault.reply] * fault.posts)

    text, error = face(server.url)

    assert isinstance(error, fault.error)
    assert re.search(fault.says, str(error), re.DOTALL)
    assert fault.partial == getattr(error, "partial", None)
    assert text == ("" if face in WHOLE else fault.partial or "")
    assert fault.posts == len(server.posts)
    assert ("langchain" in face.__name__) == isinstance(error, ModelError)


@every_face
def test_what_is_not_yet_loaded_is_waited_for(server: FakeServer, face: Face) -> None:
    server.script(LOADING, BUSY, Reply.text("ok"))

    assert ("ok", None) == face(server.url)
    assert 3 == len(server.posts)


@every_face
def test_a_server_that_was_restarted_is_asked_without_an_error(face: Face) -> None:
    """What was kept open to the one before is not used, nor an error."""
    with FakeServer() as server:
        assert ("echo: hi", None) == face(server.url)
        port = server.url.rpartition(":")[2]
    with FakeServer(port=int(port)) as server:
        assert ("echo: hi", None) == face(server.url)


def test_an_answer_in_gzip_is_read(server: FakeServer) -> None:
    """It is not asked for, but something between may do it."""
    body = gzip.compress(event(dumps(said("ab"))) + event(dumps(END)))
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    server.script(Reply.raw(head.encode() + body))

    assert ("ab", None) == llm_chat(server.url)


# --------------------------------------------------------------------------- every byte


def test_a_cut_at_any_byte_keeps_exactly_what_had_come(server: FakeServer) -> None:
    events = [said(text) for text in ("G", "rü", "ß", "日")]
    ends = [0]
    for one in events:
        ends.append(ends[-1] + len(event(dumps(one))))
    texts = ["", "G", "Grü", "Grüß", "Grüß日"]

    with LLM(base_url=server.url, **LIMITS) as llm:
        for at in range(ends[-1] + 1):
            server.script(Reply.events(events, done=False, cut_after=at, chunked=False))
            text, error = ended(llm.chat_stream("hi"))

            arrived = texts[max(index for index, end in enumerate(ends) if end <= at)]
            assert isinstance(error, MlxcelStreamError)
            assert (arrived, arrived) == (text, error.partial)
