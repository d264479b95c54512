"""What can go wrong on the wire, seen from every class that a user asks.

One table for all: what the server does, what comes out, what had arrived, how often it was asked.
"""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from langchain_core.exceptions import ModelError

from mlxcel_integrations import MlxcelStreamError
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import dumps, event
from tests.faults.ways_to_call import (
    LIMITS,
    OF_CLIENTS,
    OF_LANGCHAIN,
    OF_LLAMA_INDEX,
    STREAMS,
    WAYS,
    Way,
    each_way,
)
from tests.supervisor.conftest import wait_until

TOO_LONG = 17 * 1024 * 1024


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
    "events and lines that are no part of it": Reply.events(
        [{"type": "ping"}, said(TEXT), b"id: 7\nretry: 9\nping\n\n", END]
    ),
    "events and lines that are no part of it, and no finish reason": Reply.events(
        [{"type": "ping"}, b"ping\n\n", said(TEXT)]
    ),
    "names, ids and comments, and no finish reason": Reply.events(
        [b"event: message\nid\nretry: 9\n:\n", said(TEXT), {"choices": [], "usage": None}]
    ),
    "usage, choices and error that are null": Reply.events(
        [said(TEXT), END, {"choices": None, "usage": None, "timings": None, "error": None}]
    ),
    "a line of 8 megabytes that is a comment": Reply.events(
        [b": " + b"x" * 8 * 1024 * 1024 + b"\n", said(TEXT), END]
    ),
}


@each_way(WAYS)
@pytest.mark.parametrize("name", GOOD)
def test_an_answer_in_an_odd_form_is_an_answer(server: FakeServer, way: Way, name: str) -> None:
    server.script(GOOD[name])

    assert (TEXT, None) == way(server.url)
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
        kept: Whether the connection can be used again; all others are closed.
        seconds: How long silence may last, where that is what ends it.
    """

    reply: Reply
    error: type[Exception]
    says: str
    partial: str | None = None
    posts: int = 1
    kept: bool = False
    seconds: float = 0.0


def cut(at: int, chunked: bool) -> Reply:
    """Return two events of which the second is cut after some of its bytes."""
    whole = len(event(dumps(said("ab"))))
    return Reply.events([said("ab"), said("日本"), END], cut_after=whole + at, chunked=chunked)


SECOND = event(dumps(said("日本")))
INSIDE = SECOND.index("日".encode()) + 1
SOON = {"retry-after": "0"}
BUSY = Reply.error(503, "busy", "server_busy", headers=SOON)
LOADING = Reply.json({"error": {"message": "Loading model", "type": "unavailable_error"}}, 503)

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
        Reply.events([said("ab")], done=False), MlxcelStreamError, "cut short", "ab", kept=True
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
        "gave up on the answer: out of memory",
        "ab",
    ),
    "tool calls of another shape": Fault(
        Reply.events([said("ab"), {"choices": [{"delta": {"tool_calls": ["x"]}}]}]),
        MlxcelStreamError,
        "unknown shape",
        "ab",
    ),
    "token counts of another shape": Fault(
        Reply.events([said("ab"), {"choices": [], "usage": {"prompt_tokens": "x"}}]),
        MlxcelStreamError,
        "unknown shape",
        "ab",
    ),
    "a number that is none": Fault(
        Reply.events([said("ab"), '{"choices": [], "usage": {"prompt_tokens": 1e999999}}']),
        MlxcelStreamError,
        "unknown shape",
        "ab",
    ),
    "an event that is nothing but brackets": Fault(
        Reply.events([said("ab"), "[" * 100_000]), MlxcelStreamError, "not a JSON object", "ab"
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
        seconds=0.3,
    ),
    "empty deltas without an end": Fault(
        Reply.events([said("ab"), *[said("")] * 20], delay=0.05),
        MlxcelStreamError,
        r"silent for 0.3 s \(timeout=\)",
        "ab",
        seconds=0.3,
    ),
    "comments without an end": Fault(
        Reply.events([said("ab"), *[b":\n\n"] * 20], delay=0.05),
        MlxcelStreamError,
        r"silent for 0.3 s \(timeout=\)",
        "ab",
        seconds=0.3,
    ),
    "silence": Fault(
        Reply.hang(), openai.APITimeoutError, r"within 0.3 s \(timeout=\)", seconds=0.3
    ),
    "a page of a web server": Fault(
        Reply.plain(200, "<html>", "text/html"), MlxcelStreamError, "text/html.*<html>", ""
    ),
    "no content type, and nothing": Fault(
        Reply.plain(200), MlxcelStreamError, "no content type", "", kept=True
    ),
    "JSON instead of a stream": Fault(
        Reply.json({"choices": []}), MlxcelStreamError, "application/json", ""
    ),
    "a compressed answer": Fault(
        Reply.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
            b"connection: close\r\n\r\n" + gzip.compress(event(dumps(said("ab"))))
        ),
        MlxcelStreamError,
        r"compressed its answer \('gzip'\)",
        "",
    ),
    "an error beside the answer": Fault(
        Reply.events([said("ab"), {**END, "error": {"message": "no memory"}}]),
        MlxcelStreamError,
        "gave up on the answer: no memory",
        "ab",
    ),
    "an error without a message": Fault(
        Reply.events([said("ab"), {"error": {}}]),
        MlxcelStreamError,
        "gave up on the answer: an error without a message",
        "ab",
    ),
    "an error without a name": Fault(
        Reply.events([said("ab"), {"code": 500, "message": "no memory"}]),
        MlxcelStreamError,
        "gave up on the answer: no memory",
        "ab",
    ),
    **{
        f"{name} instead of the end": Fault(
            Reply.events([said("ab"), odd]),
            MlxcelStreamError,
            f"gave up on the answer without a finish reason. It sent .*{says}",
            "ab",
        )
        for name, odd, says in (
            ("a problem", {"title": "Out of memory", "status": 500}, "Out of memory"),
            ("an error of another name", {"error_msg": "out of memory"}, "error_msg"),
            ("an error that is empty", {"error": ""}, "error"),
            ("an event of another name", b'event: failed\ndata: {"at": 7}\n\n', "at"),
            ("an error in several lines", b'{\n  "error": "x"\n}\n\n', "}"),
            ("a page", b"<h1>502 Bad Gateway</h1>\n\n", "502"),
            ("a traceback", b"Traceback:\n  File x\nMemoryError: no\n\n", "MemoryError"),
        )
    },
    "an aborted generation": Fault(
        Reply.text("a b", finish="abort"), MlxcelStreamError, "the generation failed", "a b"
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
    "nothing": Fault(Reply.plain(204), openai.APIStatusError, "answered 204", kept=True),
    "busy all along": Fault(
        BUSY,
        openai.InternalServerError,
        "answered 503: busy.*raise max_retries",
        posts=3,
        kept=True,
    ),
    "too many requests": Fault(
        Reply.error(429, "slow down", headers=SOON),
        openai.RateLimitError,
        "answered 429: slow down",
        posts=3,
        kept=True,
    ),
    "a failure": Fault(
        Reply.error(500, "boom", "server_error"),
        openai.InternalServerError,
        "answered 500: boom",
        kept=True,
    ),
    "a worker that died": Fault(
        Reply.error(503, "worker died", "server_error"),
        openai.InternalServerError,
        "worker died",
        kept=True,
    ),
    "a wrong key": Fault(
        Reply.error(401, "Invalid API key"),
        openai.AuthenticationError,
        "MLXCEL_API_KEY",
        kept=True,
    ),
    "a body that is too large": Fault(
        Reply.plain(413, "length limit exceeded"),
        openai.APIStatusError,
        "413: length limit.*Send fewer or smaller images",
        kept=True,
    ),
    "a redirect": Fault(
        Reply.plain(302, "elsewhere", headers={"location": "http://127.0.0.1:9/"}),
        openai.APIStatusError,
        "302",
        kept=True,
    ),
    "an error that is nothing but brackets": Fault(
        Reply.plain(500, '{"error":' + "[" * 500 + "]" * 500 + "}", "application/json"),
        openai.InternalServerError,
        "answered 500: an error that is nested too deeply",
        kept=True,
    ),
    "an error with half a character": Fault(
        Reply.plain(500, r'{"error": {"message": "lost \udc80"}}', "application/json"),
        openai.InternalServerError,
        "answered 500: lost \ufffd",
        kept=True,
    ),
    "an error with numbers that are none": Fault(
        Reply.plain(
            500, '{"error": {"message": "lost", "at": [NaN, Infinity]}}', "application/json"
        ),
        openai.InternalServerError,
        "answered 500: lost",
        kept=True,
    ),
    "an error beside what is nested deeply": Fault(
        Reply.plain(
            500,
            '{"error": {"message": "lost", "at": ' + "[" * 900 + "]" * 900 + "}}",
            "application/json",
        ),
        openai.InternalServerError,
        "answered 500: lost",
        kept=True,
    ),
}


BY_TURNS = [
    pytest.param(name, way, id=f"{name}-{way.name}")
    for at, name in enumerate(FAULTS)
    for way in (*OF_CLIENTS, OF_LANGCHAIN[at % 4], OF_LLAMA_INDEX[at % 4])
]
"""Each fault in all four calls of the clients, and in one call of each adapter.

LangChain's calls translate errors alike, as `langchain/test_openai_errors` shows; LlamaIndex's pass
them on.
"""


@pytest.mark.parametrize(("name", "way"), BY_TURNS)
def test_a_fault_is_told_and_keeps_what_had_arrived(
    server: FakeServer, name: str, way: Way
) -> None:
    fault = FAULTS[name]
    server.script(*[fault.reply] * fault.posts)
    limits = {**LIMITS, "timeout": fault.seconds or LIMITS["timeout"]}
    with way.opened(base_url=server.url, served_model="fake-model", **limits) as ask:
        began = time.monotonic()
        text, error = ask()
        took = time.monotonic() - began

        assert isinstance(error, fault.error)
        assert re.search(fault.says, str(error), re.DOTALL)
        assert fault.partial == getattr(error, "partial", None)
        assert text == (fault.partial or "" if way.streams else "")
        assert fault.posts == len(server.posts)
        assert fault.seconds * 0.9 <= took < fault.seconds + 5
        assert way.in_langchain == isinstance(error, ModelError)
        assert wait_until(lambda: fault.kept == server.open_connections)


@each_way(WAYS)
def test_what_is_not_yet_loaded_is_waited_for(server: FakeServer, way: Way) -> None:
    server.script(LOADING, BUSY, Reply.text("ok"))

    assert ("ok", None) == way(server.url)
    assert 3 == len(server.posts)


@each_way(WAYS)
def test_a_server_that_was_restarted_is_asked_without_an_error(way: Way) -> None:
    """What was kept open to the one before is not used, nor an error."""
    with FakeServer() as server:
        port = server.port
        with way.opened(base_url=server.url, max_retries=0) as ask:
            assert ("echo: hi", None) == ask()
            server.stop()
            assert port is not None
            with FakeServer(port=port) as another:
                assert ("echo: hi", None) == ask()
                assert 1 == len(another.posts)


# --------------------------------------------------------------------------- every byte

TEXTS = ["", "é", "é🎉"]
FRAMES = [event(dumps({"choices": [{"delta": {"content": text}}]})) for text in ("é", "🎉")]
LAST = event(dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]}))


@each_way(WAYS)
def test_a_cut_at_any_byte_keeps_exactly_what_had_come(server: FakeServer, way: Way) -> None:
    wire = b"".join(FRAMES) + LAST
    ends = [0, len(FRAMES[0]), len(FRAMES[0] + FRAMES[1])]

    with way.opened(base_url=server.url, served_model="fake-model", **LIMITS) as ask:
        # What gives the whole answer reads it in the same way: there, some bytes are enough.
        for at in range(0, len(wire), 1 if way.streams else 7):
            server.script(Reply.events([wire], done=False, cut_after=at, chunked=False))
            text, error = ask()

            arrived = next(TEXTS[index] for index in (2, 1, 0) if ends[index] <= at)
            assert isinstance(error, MlxcelStreamError)
            assert (arrived, arrived if way.streams else "") == (error.partial, text)


@each_way(STREAMS)
def test_the_same_bytes_mean_the_same_in_any_two_chunks(server: FakeServer, way: Way) -> None:
    wire = b"".join(FRAMES) + LAST

    with way.opened(base_url=server.url, served_model="fake-model", **LIMITS) as ask:
        for at in range(1, len(wire)):
            server.script(Reply.events([wire[:at], wire[at:]]))
            assert (TEXTS[2], None) == ask()
    assert 1 == server.connections


@each_way(WAYS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_stands_before_a_fault_is_not_lost_in_any_chunks(
    server: FakeServer, way: Way, size: int
) -> None:
    """Also when it comes in the same piece as the fault."""
    wire = b"".join(FRAMES) + event(b"{")
    server.script(Reply.events([wire], chunk_size=size))

    text, error = way(server.url)

    assert isinstance(error, MlxcelStreamError)
    assert (TEXTS[2], TEXTS[2] if way.streams else "") == (error.partial, text)
