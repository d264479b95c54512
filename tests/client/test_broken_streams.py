"""Answers that break off, stall, or never were answers."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from mlxcel_integrations import MlxcelStreamError
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import dumps, event

ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
)


def said(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def size(*texts: str) -> int:
    """How many bytes the events of these texts take."""
    return sum(len(event(dumps(said(text)))) for text in texts)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until closed"])
@pytest.mark.parametrize("method", ["chat", "chat_stream", "complete_chat"])
def test_a_cut_answer_is_an_error_that_keeps_the_text(
    client: Any, server: FakeServer, chunked: bool, method: str
) -> None:
    cut = size("Gr", "üß") + 20
    server.script(
        Reply.events([said(text) for text in ("Gr", "üß", "cut")], cut_after=cut, chunked=chunked)
    )

    with pytest.raises(MlxcelStreamError, match=r"cut short: .*(closed|ended)") as caught:
        getattr(client, method)("hi")

    assert "Grüß" == caught.value.partial
    assert "send the request again" in str(caught.value)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until closed"])
def test_an_answer_that_only_stops_is_an_error(
    client: Any, server: FakeServer, chunked: bool
) -> None:
    """The response ends as it should, but the answer does not."""
    server.script(Reply.events([said("half")], done=False, chunked=chunked))

    with pytest.raises(MlxcelStreamError, match="the connection ended before") as caught:
        client.chat("hi")
    assert "half" == caught.value.partial


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until closed"])
def test_a_finish_reason_completes_an_answer(
    client: Any, server: FakeServer, chunked: bool
) -> None:
    events = [said("all"), said("", "stop")]
    server.script(Reply.events(events, done=False, chunked=chunked))
    assert "all" == client.chat("hi")

    wire = b"".join(map(event, [b'{"choices":[{"delta":{"content":"all"}}]}', b"[DONE]"]))
    server.script(Reply.raw(HEAD + b"%x\r\n%b\r\n" % (len(wire), wire)))
    assert "all" == client.chat("hi")


@ON_TCP
def test_a_cut_anywhere_keeps_exactly_the_text_so_far(client: Any, server: FakeServer) -> None:
    one = size("ab")
    for cut in range(0, 3 * one, 9):
        server.script(Reply.events([said("ab")] * 4, cut_after=cut))

        with pytest.raises(MlxcelStreamError) as caught:
            client.chat("hi")
        assert "ab" * (cut // one) == caught.value.partial


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply.text("a b", finish="error"), "the generation failed"),
        (Reply.events([said("a b"), {"error": {"message": "out of memory"}}]), "out of memory"),
        (Reply.events([said("a b"), "{"]), "not a JSON object: '{'"),
        (Reply.events([said("a b"), "<html>"]), "not a JSON object: '<html>'"),
        (Reply.events([said("a b"), {"choices": [7]}]), "unknown shape"),
    ],
    ids=["finish reason", "error object", "half JSON", "HTML", "shape"],
)
@pytest.mark.parametrize("method", ["chat", "chat_stream"])
def test_a_failed_answer_keeps_the_text(
    client: Any, server: FakeServer, method: str, reply: Reply, message: str
) -> None:
    server.script(reply)

    with pytest.raises(MlxcelStreamError, match=message) as caught:
        getattr(client, method)("hi")
    assert "a b" == caught.value.partial


@ON_TCP
@pytest.mark.parametrize(
    "reply",
    [Reply.json({"choices": []}), Reply.plain(200, "hi"), Reply.plain(200)],
    ids=["JSON", "text", "nothing"],
)
def test_what_is_no_stream_is_told(client: Any, server: FakeServer, reply: Reply) -> None:
    server.script(reply)

    with pytest.raises(MlxcelStreamError, match="instead of a stream of events"):
        client.chat("hi")


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until closed"])
def test_done_ends_an_answer_whose_connection_stays_open(
    client: Any, server: FakeServer, chunked: bool
) -> None:
    server.script(Reply.events([said("all")], hold_open=True, chunked=chunked))
    client.models()

    start = time.monotonic()
    assert "all" == client.chat("hi")
    assert time.monotonic() - start < 1
    assert server.wait_disconnect(1)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until closed"])
def test_a_silent_server_is_given_up(connect: Any, server: FakeServer, chunked: bool) -> None:
    server.script(Reply.events([said("half")], done=False, hold_open=True, chunked=chunked))
    client = connect(timeout=0.1, max_retries=5)

    start = time.monotonic()
    with pytest.raises(MlxcelStreamError, match=r"silent for 0.1 s \(timeout=\)") as caught:
        client.chat("hi")
    assert 0.08 < time.monotonic() - start < 1
    assert "half" == caught.value.partial
    assert (1, True) == (len(server.posts), server.wait_disconnect(1))


def test_a_server_that_never_answers_is_given_up(connect: Any, server: FakeServer) -> None:
    server.script(Reply.hang())
    server.route("/tokenize", Reply.hang())
    client = connect(timeout=0.1, max_retries=5, served_model="fake-model")

    for ask in (lambda: client.chat("hi"), lambda: client.tokenize("hi")):
        start = time.monotonic()
        with pytest.raises(openai.APITimeoutError, match=r"within 0.1 s \(timeout=\)"):
            ask()
        assert 0.08 < time.monotonic() - start < 1
    assert 2 == len(server.requests)


@ON_TCP
def test_the_limit_is_for_silence_and_not_for_the_whole(connect: Any, server: FakeServer) -> None:
    server.script(Reply.text("a b c d e f", delay=0.05))

    assert "a b c d e f" == connect(timeout=0.2).chat("hi")


@ON_TCP
def test_a_limit_of_one_client_is_not_that_of_the_next_request(
    connect: Any, server: FakeServer
) -> None:
    """The same connection serves an answer after the short wait for what follows `[DONE]`."""
    server.script(Reply.text("one"), Reply.text("two three", first_delay=0.1, delay=0.1))
    client = connect()

    assert ["one", "two three"] == [client.chat("hi"), client.chat("hi")]
    assert 1 == server.connections


@ON_TCP
@pytest.mark.parametrize(("name", "connections"), [("uvicorn", 1), ("llama.cpp", 2)])
def test_llama_cpp_closes_the_connection_of_a_stream(
    client: Any, server: FakeServer, name: str, connections: int
) -> None:
    """It does so although its headers say otherwise."""
    answer = Reply.text("Oslo", headers={"server": name})
    server.script(answer, answer)

    assert ["Oslo", "Oslo"] == [client.chat("hi"), client.chat("hi")]
    assert connections == server.connections


def test_a_body_that_breaks_off_is_no_answer(connect: Any, server: FakeServer) -> None:
    server.route("/tokenize", Reply.json({"tokens": [1, 2]}, cut_after=5))
    server.route("/v1/models", Reply.json({"data": []}, cut_after=5, chunked=True))
    client = connect()

    for ask in (lambda: client.tokenize("hi"), lambda: client.models()):
        with pytest.raises(openai.APIConnectionError, match="Lost the connection"):
            ask()


def test_a_body_that_stalls_is_given_up(connect: Any, server: FakeServer) -> None:
    server.route("/tokenize", Reply.json({"tokens": []}, chunked=True, hold_open=True))

    with pytest.raises(openai.APITimeoutError, match="timeout="):
        connect(timeout=0.1).tokenize("hi")
