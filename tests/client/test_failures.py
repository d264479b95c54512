"""Requests that get no answer: which exception, which message, and how often they are sent."""

from __future__ import annotations

import http.server
import logging
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, MlxcelError
from tests.fakes.server import FakeServer, Reply

ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
CHAT = "/v1/chat/completions"

ROUTES: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat("hi"),
    "chat_stream": lambda client: client.chat_stream("hi"),
    "complete_chat": lambda client: client.complete_chat("hi"),
    "generate": lambda client: client.generate("hi"),
    "stream": lambda client: client.stream("hi"),
    "tokenize": lambda client: client.tokenize("hi"),
    "detokenize": lambda client: client.detokenize([1]),
    "models": lambda client: client.models(),
}
PATHS = {
    **dict.fromkeys(["chat", "chat_stream", "complete_chat"], CHAT),
    **dict.fromkeys(["generate", "stream"], "/v1/completions"),
    **{"tokenize": "/tokenize", "detokenize": "/detokenize", "models": "/v1/models"},
}
GIVES_UP = Reply.text("", finish="error")
BUSY = Reply.error(503, "All slots are busy", "server_busy", headers={"retry-after": "0"})


@ON_TCP
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, openai.APIStatusError),
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (500, openai.InternalServerError),
        (501, openai.InternalServerError),
    ],
)
def test_statuses_are_the_exceptions_of_openai_on_every_route(
    connect: Any, server: FakeServer, route: str, status: int, error: type[openai.APIStatusError]
) -> None:
    server.route(PATHS[route], Reply.error(status, "Oh no", code=status))

    with pytest.raises(error, match=f"{server.url} answered {status}: Oh no") as caught:
        ROUTES[route](connect(served_model="fake-model"))

    assert (status, server.url + PATHS[route]) == (
        caught.value.status_code,
        str(caught.value.request.url),
    )
    assert {"message": "Oh no", "type": "invalid_request_error", "code": status} == (
        caught.value.body
    )
    assert 1 == len(server.requests)


@ON_TCP
def test_a_long_prompt_is_told_with_both_numbers(client: Any, server: FakeServer) -> None:
    numbers = {"n_prompt_tokens": 5000, "n_ctx": 4096}
    error = {"type": "exceed_context_size_error", "message": "too long", "code": 400, **numbers}
    server.script(Reply.json({"error": error}, 400))

    with pytest.raises(openai.BadRequestError, match="5000 tokens and the context 4096") as caught:
        client.chat("hi")

    assert error == caught.value.body


def test_a_busy_server_is_asked_again(connect: Any, server: FakeServer) -> None:
    client = connect(max_retries=2)
    server.script(BUSY, BUSY, Reply.text("ok"), BUSY, BUSY, BUSY)

    assert "ok" == client.chat("hi")
    assert 3 == len(server.posts)
    with pytest.raises(openai.InternalServerError, match="raise max_retries"):
        client.chat("hi")
    assert 6 == len(server.posts)


@ON_TCP
@pytest.mark.parametrize("busy", [BUSY, GIVES_UP], ids=["busy", "gives up"])
def test_each_retry_is_one_line_of_the_log(
    connect: Any, server: FakeServer, caplog: pytest.LogCaptureFixture, busy: Reply
) -> None:
    server.script(busy, busy, Reply.text("ok"))

    with caplog.at_level(logging.INFO, "mlxcel.client"):
        assert "ok" == connect(max_retries=4).chat("hi")

    lines = [text for name, level, text in caplog.record_tuples if name == "mlxcel.client"]
    assert ["try 2 of 5.", "try 3 of 5."] == [line.rpartition(", ")[2] for line in lines]
    assert all(server.url in line and "\n" not in line for line in lines), lines
    assert all(re.search(r"Sent again in \d\.\d s, ", line) for line in lines), lines


@ON_TCP
@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(500, "boom", "server_error", headers={"retry-after": "0"}),
        Reply.error(503, "worker died", "server_error", headers={"retry-after": "0"}),
        Reply.error(400, "failed", "server_error"),
        Reply.close(),
        Reply.raw(b""),
        Reply.raw(b"HTTP/1.1 200 O"),
    ],
    ids=["500", "503", "400", "closed", "nothing", "half a head"],
)
def test_what_may_have_begun_is_sent_once(connect: Any, server: FakeServer, reply: Reply) -> None:
    server.script(reply)

    with pytest.raises((openai.InternalServerError, openai.APIConnectionError)):
        connect(max_retries=5).chat("hi")
    assert 1 == len(server.posts)


@ON_TCP
def test_no_answer_names_the_server_and_the_way_out(client: Any, server: FakeServer) -> None:
    server.script(Reply.close())

    with pytest.raises(openai.APIConnectionError, match="Lost the connection") as caught:
        client.chat("hi")

    assert server.url in str(caught.value)
    assert "Check that the server is running" in str(caught.value)


@pytest.mark.parametrize("route", ROUTES)
def test_a_server_that_has_gone_cannot_be_reached(
    connect: Any, server: FakeServer, route: str
) -> None:
    client = connect(max_retries=0)
    server.stop()

    with pytest.raises(openai.APIConnectionError, match="Cannot reach") as caught:
        ROUTES[route](client)

    assert f"{server.url}: Connection refused. " in str(caught.value)


def test_a_refused_connection_is_tried_again(connect: Any, server: FakeServer) -> None:
    """The server comes up while the client waits for it."""
    server.stop()
    late = FakeServer(
        socket=server.socket, port=0 if server.port is None else server.port, start=False
    )
    timer = threading.Timer(0.1, late.start)
    timer.start()
    try:
        assert "echo: hi" == connect(max_retries=3).chat("hi")
    finally:
        timer.join()
        late.stop()


@ON_TCP
@pytest.mark.parametrize("path", ["missing.sock", "folder/missing.sock"])
def test_a_socket_that_does_not_exist_is_named(connect: Any, short_path: Path, path: str) -> None:
    with pytest.raises(openai.APIConnectionError) as caught:
        connect(socket=short_path / path, max_retries=0).chat("hi")

    assert f"Cannot reach unix://{short_path / path}: " in str(caught.value)


@contextmanager
def ordinary_web_server(page: bytes | None) -> Iterator[str]:
    """Answers every request with a page, or with 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(404 if page is None else 200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page or b"<html>not here</html>")

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}"
        finally:
            web.shutdown()
            thread.join()


@ON_TCP
@pytest.mark.parametrize("route", ROUTES)
def test_a_web_server_is_no_server_of_models(connect: Any, route: str) -> None:
    advice = "address is that of an mlxcel server"
    with ordinary_web_server(None) as url, pytest.raises(openai.NotFoundError, match=advice):
        ROUTES[route](connect(base_url=url))
    with ordinary_web_server(b"<html>Welcome</html>") as url:
        for options in ({}, {"served_model": "fake-model"}):
            with pytest.raises(MlxcelError, match=advice):
                ROUTES[route](connect(base_url=url, **options))


def test_redirects_are_not_followed(connect: Any, server: FakeServer) -> None:
    with FakeServer() as other:
        head = f"HTTP/1.1 302 Found\r\nlocation: {other.url}{CHAT}\r\ncontent-length: 0\r\n\r\n"
        server.script(Reply.raw(head.encode()))

        with pytest.raises(openai.APIStatusError, match="answered 302"):
            connect(api_key="k").chat("hi")
        assert [] == other.requests


def test_proxies_are_not_used_for_local_servers(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")
    client = connect()

    assert "echo: hi" == client.chat("hi")
    assert ["fake-model"] == client.models()


KEY = "key-5e0b"


@ON_TCP
@pytest.mark.parametrize(
    "reply",
    [Reply.error(500, "boom"), Reply.close(), Reply.text("half", cut_after=20), Reply.plain(200)],
    ids=["status", "closed", "cut", "no stream"],
)
def test_the_key_is_never_shown(connect: Any, server: FakeServer, reply: Reply) -> None:
    server.api_key = KEY
    server.script(reply)
    client = connect(api_key=KEY)

    assert KEY not in repr(client.llm) + str(client.llm)
    with pytest.raises((openai.APIError, MlxcelError)) as caught:
        client.chat("hi")
    error: BaseException | None = caught.value
    while error is not None:
        shown = [str(error), repr(error), *traceback.format_exception(error)]
        for name, value in vars(error).items():
            shown.append(f"{name}={value!r} {getattr(value, 'headers', '')!s}")
        assert KEY not in "\n".join(shown)
        error = error.__cause__ or error.__context__


def test_an_unknown_host_is_called_so() -> None:
    llm = LLM(base_url="http://no.such.host.invalid", max_retries=0)

    with pytest.raises(openai.APIConnectionError) as caught:
        llm.models()

    assert "Cannot reach http://no.such.host.invalid" in str(caught.value)
    assert "Unknown error" not in str(caught.value)
