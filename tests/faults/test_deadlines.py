"""Servers that keep a request waiting without being silent: its limits hold all the same."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from mlxcel_integrations import LLM, MlxcelStreamError
from tests import WARNINGS_ARE_ERRORS
from tests.fakes.server import FakeServer
from tests.faults.raw_socket_server import RawServer
from tests.faults.ways_to_call import WAYS, Way, each_way

CLIENTS = WAYS[:4]

TOTAL = 0.5
ENOUGH = 1.0
"""Seconds after which even a busy machine has noticed that the total is over."""

Serve = Callable[[RawServer, socket.socket], None]


def dripping(head: bytes, piece: bytes, pause: float = 0.05) -> Serve:
    """Send a beginning, and then the same piece again and again for ten seconds."""

    def serve(_: RawServer, connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(int(10 / (pause or 0.001))):
            connection.sendall(piece)
            time.sleep(pause)

    return serve


def slow_reader(_: RawServer, connection: socket.socket) -> None:
    for _ in range(200):
        connection.recv(1000)
        time.sleep(0.05)


def not_found(_: RawServer, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")


CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
ENDLESS = {
    "headers, byte by byte": dripping(b"HTTP/1.1 200 OK\r\nx-slow: ", b"a"),
    "the status, byte by byte": dripping(b"HTTP/1.1 200 O", b"K"),
    "informational responses": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "informational responses, at full speed": dripping(b"", b"HTTP/1.1 103 Early\r\n\r\n" * 9, 0),
    "the size of a chunk, digit by digit": dripping(CHUNKED, b"0"),
    "comments": dripping(CHUNKED, b"5\r\n:hi\n\n\r\n"),
    "an error, byte by byte": dripping(
        b"HTTP/1.1 500 Oh\r\ncontent-length: 99999\r\n\r\n", b"a"
    ),
}  # fmt: skip


@each_way(CLIENTS)
@pytest.mark.parametrize("endless", ENDLESS)
def test_the_total_holds_whatever_arrives(way: Way, endless: str) -> None:
    began = time.monotonic()
    with RawServer(ENDLESS[endless]) as server:
        _, error = way(server.url, served_model="m", total_timeout=TOTAL, timeout=30)
        took = time.monotonic() - began

    assert isinstance(error, openai.APITimeoutError | MlxcelStreamError), error
    assert "0.5 s (total_timeout=)" in str(error)
    assert TOTAL - 0.05 < took < TOTAL + ENOUGH


@each_way(CLIENTS)
def test_the_total_holds_for_a_request_that_is_taken_slowly(way: Way) -> None:
    began = time.monotonic()
    with RawServer(slow_reader, reads=False) as server:
        with way.opened(
            base_url=server.url, served_model="m", total_timeout=TOTAL, max_retries=0
        ) as ask:
            _, error = ask("a" * 30_000_000)
        took = time.monotonic() - began

    assert isinstance(error, openai.APITimeoutError), error
    assert took < TOTAL + 2 * ENOUGH


@each_way(CLIENTS)
def test_the_total_holds_for_a_name_server_that_is_silent(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(20) and [])
    began = time.monotonic()
    _, error = way("http://models.example:80", served_model="m", total_timeout=TOTAL, max_retries=5)
    took = time.monotonic() - began
    done.set()

    assert isinstance(error, openai.APIConnectionError), error
    assert (
        "Cannot reach http://models.example: its name was not looked up within 0.5 s "
        "(total_timeout=). Check the spelling of the host name, and that this machine is online."
    ) == str(error)
    assert TOTAL - 0.05 < took < TOTAL + ENOUGH


@each_way(CLIENTS)
def test_a_pause_that_would_last_longer_than_the_request_is_not_made(way: Way) -> None:
    """The error of the server says more than that time is over."""

    def busy(_: RawServer, connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 429 Busy\r\nretry-after: 8\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )

    began = time.monotonic()
    with RawServer(busy) as server:
        _, error = way(server.url, served_model="m", total_timeout=1, max_retries=5)
        took = time.monotonic() - began

    assert isinstance(error, openai.RateLimitError), error
    assert took < 1


@each_way(CLIENTS)
def test_the_total_includes_what_is_asked_before(way: Way) -> None:
    """The name of the model is discovered in 0.3 s, and the answer would take as long again."""

    def serve(_: RawServer, connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n")
        connection.sendall(b'{"data": [{"id": "m"}]}')
        connection.recv(65536)
        time.sleep(5)

    began = time.monotonic()
    with RawServer(serve) as server:
        _, error = way(server.url, total_timeout=TOTAL, timeout=30, check_context=None)
        took = time.monotonic() - began

    assert isinstance(error, openai.APITimeoutError), error
    assert took < TOTAL + ENOUGH


def test_the_total_includes_all_requests_that_counting_takes() -> None:
    """Each of them is refused after 0.3 s."""

    def serve(_: RawServer, connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 400 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    with (
        RawServer(serve) as server,
        LLM(base_url=server.url, served_model="m", total_timeout=TOTAL, max_retries=0) as llm,
        pytest.raises(openai.APITimeoutError, match=r"0.5 s \(total_timeout=\)"),
    ):
        llm.count_tokens(["one", "two"])


def test_asking_for_the_slots_takes_no_time_beside_that_of_the_request() -> None:
    """Of three requests at once, two ask a deaf server for its slots before they are sent."""
    done = threading.Event()
    with (
        RawServer(lambda *_: done.wait(20)) as server,
        ThreadPoolExecutor(3) as threads,
        LLM(base_url=server.url, served_model="m", timeout=0.6, max_retries=0) as llm,
    ):
        began = time.monotonic()
        asked = [threads.submit(llm.chat, "hi") for _ in range(3)]
        errors = [one.exception() for one in asked]
        took = time.monotonic() - began
        done.set()

    assert all(isinstance(error, openai.APITimeoutError) for error in errors)
    assert took < 0.6 + ENOUGH


@each_way(CLIENTS)
@pytest.mark.parametrize("seconds", [math.inf, 1e12])
def test_there_may_be_no_limit_at_all(way: Way, seconds: float) -> None:
    names = ("timeout", "connect_timeout", "token_timeout", "total_timeout")
    with FakeServer() as server:
        assert ("echo: hi", None) == way(server.url, **dict.fromkeys(names, seconds))


PROGRAM = """
import asyncio, openai, socket, threading
from mlxcel_integrations import LLM, AsyncLLM
socket.getaddrinfo = lambda *_, **__: threading.Event().wait(100)
options = {"base_url": "http://models.example", "served_model": "m", "total_timeout": 0.3}
async def ask():
    await AsyncLLM(**options).chat("hi")
for way in (lambda: LLM(**options).chat("hi"), lambda: asyncio.run(ask())):
    try:
        way()
    except openai.APIConnectionError:
        print("told")
"""


def test_no_program_waits_at_its_end_for_a_name_server_that_is_silent() -> None:
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ("told\n" * 2, "") == (done.stdout, done.stderr)


FIRST_EXCEPTION = """
import asyncio, sys, threading
from mlxcel_integrations import LLM, AsyncLLM

class Watch:
    @staticmethod
    def find_spec(name, *_):
        if name == "openai":
            print("here" if threading.current_thread() is threading.main_thread() else "elsewhere")

sys.meta_path.insert(0, Watch)
options = {"base_url": sys.argv[1], "served_model": "m", "max_retries": 0}
async def ask():
    await AsyncLLM(**options).chat("hi")
try:
    if sys.argv[2] == "async":
        asyncio.run(ask())
    else:
        LLM(**options, total_timeout=1).chat("hi")
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("mode", "serve", "expected"),
    [
        # In the main thread, it would begin when the time is over, and take half a second.
        pytest.param("sync", dripping(b"", b"", 1), "APITimeoutError", id="a limit"),
        # In the main thread, the loop would wait for it.
        pytest.param("async", not_found, "NotFoundError", id="a loop"),
    ],
)
def test_the_first_exception_is_imported_beside_what_must_not_wait_for_it(
    mode: str, serve: Serve, expected: str
) -> None:
    with RawServer(serve) as server:
        done = subprocess.run(
            [sys.executable, *WARNINGS_ARE_ERRORS, "-c", FIRST_EXCEPTION, server.url, mode],
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert (f"elsewhere\n{expected}\n", "") == (done.stdout, done.stderr)
