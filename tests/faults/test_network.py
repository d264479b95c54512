"""What a network and its neighbours can do to those who ask, seen from every class.

Connections that break, readers that are slow, too few descriptors, proxies, redirects, addresses
of images, and logs.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pydantic
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError, MlxcelStreamError
from mlxcel_integrations.transport.async_pool import _PRIVATE
from mlxcel_integrations.transport.sockets import wrap_backend
from tests import WARNINGS_ARE_ERRORS
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import dumps, event
from tests.faults.raw_socket_server import HEAD, RawServer, reset
from tests.faults.ways_to_call import STREAMS, WAYS, Way, each_way
from tests.supervisor.conftest import Fake, wait_until

KEY = "sk-0f6a41d7c2"
AB = event(dumps({"choices": [{"delta": {"content": "ab"}}]}))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


# --------------------------------------------------------------------------- connections


@each_way(WAYS)
@pytest.mark.parametrize("reads", [False, True], ids=["before the request", "after it"])
def test_a_connection_that_is_reset_is_told(way: Way, reads: bool) -> None:
    """It is tried again only while it is made: else, the server may have begun to generate."""
    with RawServer(lambda server, connection: reset(connection), reads) as server:
        text, error = way(server.url, served_model="fake-model")

    assert isinstance(error, openai.APIConnectionError)
    assert re.search("(Lost the connection to|Cannot reach) .* Check that the", str(error))
    assert "" == text
    assert 1 <= server.connections <= (1 if reads else 3)


@each_way(WAYS)
def test_an_answer_that_is_reset_keeps_what_had_come(way: Way) -> None:
    def answer(server: RawServer, connection: Any) -> None:
        connection.sendall(HEAD + AB)
        # What is reset takes along what has not been read.
        time.sleep(0.1)
        reset(connection)

    with RawServer(answer) as server:
        text, error = way(server.url, served_model="fake-model")

    assert isinstance(error, MlxcelStreamError)
    assert re.search("cut short: Connection reset by peer before", str(error))
    assert ("ab", "ab" if way.streams else "", 1) == (error.partial, text, server.connections)


@each_way([way for way in WAYS if way.name.endswith((".chat", ".astream", ".invoke"))])
def test_a_busy_server_that_names_no_time_is_asked_again_a_little_later(
    server: FakeServer, way: Way
) -> None:
    server.script(Reply.error(429, "slow down"), Reply.error(503, "busy"), Reply.text("ok"))

    assert ("ok", None) == way(server.url)
    assert 3 == len(server.posts)


@each_way([way for way in WAYS if way.name in ("LLM.chat", "AsyncLLM.chat_stream")])
def test_a_line_of_32_megabytes_is_refused_at_its_first_half(way: Way) -> None:
    def answer(server: RawServer, connection: Any) -> None:
        connection.sendall(HEAD + AB + b"data: ")
        server.flood(connection, b"x" * 65536, 32 * 1024 * 1024)

    with RawServer(answer) as server:
        _, error = way(server.url, served_model="fake-model", timeout=10)
        assert isinstance(error, MlxcelStreamError)
        assert "an event of more than 16777216 bytes" in str(error)
        assert "ab" == error.partial
        assert server.sent < 32 * 1024 * 1024


# --------------------------------------------------------------------------- leaving


async def cancelled(server: FakeServer, way: Way, llm: Any, count: int) -> list[Any]:
    """Ask often at once, and cancel all when the server is asked as often as it can be."""

    async def ask() -> None:
        async with contextlib.aclosing(way.answer(llm, way.question("hi", None))) as pieces:
            async for _ in pieces:
                pass

    tasks = [asyncio.ensure_future(ask()) for _ in range(count)]
    assert await asyncio.to_thread(wait_until, lambda: 200 == len(server.posts), 20)
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


@each_way([way for way in WAYS if way.is_async and way.streams])
def test_what_is_cancelled_in_a_crowd_leaves_no_connection_in_use(
    server: FakeServer, way: Way
) -> None:
    """Some of them wait for a connection of the pool, which has fewer, when they are cancelled."""
    server.script(*[Reply.hang()] * 230)
    with asyncio.Runner() as runner:
        llm = way.make(base_url=server.url, served_model="fake-model")
        ends = runner.run(cancelled(server, way, llm, 230))

        assert {asyncio.CancelledError} == set(map(type, ends))
        assert wait_until(lambda: 0 == server.open_connections)
        runner.run(llm.close() if way.name.startswith("AsyncLLM") else llm.aclose())
    assert 200 == len(server.posts)


class Body(httpx.AsyncByteStream):
    """A body that begins, and takes a moment to be closed."""

    def __init__(self) -> None:
        self.waiting, self.closing, self.closed = (asyncio.Event() for _ in range(3))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield event(dumps({"choices": [{"index": 0, "delta": {"content": "a"}}]}))
        self.waiting.set()
        await asyncio.sleep(10)

    async def aclose(self) -> None:
        self.closing.set()
        await asyncio.sleep(0.05)
        self.closed.set()


async def test_a_body_is_closed_also_where_this_is_cancelled() -> None:
    """Else, its connection would be in use for ever."""
    body = Body()
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, headers=headers, stream=body)
    )
    async with AsyncLLM(base_url="http://127.0.0.1:9", served_model="m") as llm:
        llm._driver._pool._custom_transport = transport
        asking = asyncio.ensure_future(llm.chat("hi"))
        for happens in (body.waiting, body.closing):
            await asyncio.wait_for(happens.wait(), 5)
            asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert await asyncio.wait_for(body.closed.wait(), 5)


class Held:
    """A network backend, sync or async, whose connections are made when a test lets them.

    Args:
        backend: Makes the connections.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.began, self.may_connect = threading.Event(), threading.Event()

    def connect_tcp(self, *args: Any, **options: Any) -> Any:
        self.began.set()
        if asyncio.iscoroutinefunction(self._backend.connect_tcp):
            return self._connect_async(*args, **options)
        assert self.may_connect.wait(20)
        return self._backend.connect_tcp(*args, **options)

    async def _connect_async(self, *args: Any, **options: Any) -> Any:
        assert await asyncio.to_thread(self.may_connect.wait, 20)
        return await self._backend.connect_tcp(*args, **options)


def held(transport: Any) -> Held:
    assert wrap_backend(transport, Held)
    backend: Held = transport._pool._network_backend
    return backend


def test_a_connection_that_is_made_while_its_client_is_closed_is_closed(
    server: FakeServer,
) -> None:
    with LLM(base_url=server.url) as llm, ThreadPoolExecutor() as threads:
        backend = held(llm._driver._pool.transport(llm._connection.endpoint))
        asking = threads.submit(llm.models)
        assert backend.began.wait(20)
        llm.close()
        backend.may_connect.set()
        asking.exception(20)

        assert wait_until(lambda: 0 == server.open_connections)
    assert 1 == len(server.requests)


async def test_an_async_connection_that_is_made_while_its_client_is_closed_is_closed(
    server: FakeServer,
) -> None:
    async with AsyncLLM(base_url=server.url) as llm:
        backend = held(await llm._driver._pool.transport(llm._connection.endpoint))
        asking = asyncio.ensure_future(llm.models())
        assert await asyncio.to_thread(backend.began.wait, 20)
        await llm.close()
        backend.may_connect.set()
        await asyncio.gather(asking, return_exceptions=True)

        assert await asyncio.to_thread(wait_until, lambda: 0 == server.open_connections)
    assert 1 == len(server.requests)


async def test_a_request_that_is_cancelled_at_any_moment_leaves_no_connection_in_use(
    server: FakeServer,
) -> None:
    """Nor one that is never used: httpcore would keep it."""
    async with AsyncLLM(base_url=server.url, served_model="fake-model") as llm:
        for turns in range(80):
            task = asyncio.ensure_future(llm.chat("hi"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.1)

        transport: Any = await llm._driver._pool.transport(llm._connection.endpoint)
        connections = transport._pool.connections
        assert [] == [one for one in connections if not (one.is_idle() or one.is_closed())]


def test_httpcore_has_what_is_used_of_it_that_is_not_public() -> None:
    """If this fails, look whether httpcore still keeps connections that nobody uses."""
    transport: Any = httpx.AsyncHTTPTransport()

    assert [] == [name for name in _PRIVATE if not hasattr(transport._pool, name)]


def test_who_waits_for_a_connection_in_threads_waits_as_long_as_for_an_answer(
    server: FakeServer,
) -> None:
    with LLM(base_url=server.url, served_model="fake-model", timeout=1, max_retries=0) as llm:
        for _ in range(200):
            llm._driver._pool._free_connections.acquire()
        with pytest.raises(
            openai.APITimeoutError, match=r"connections to .* were busy for 1 s \(timeout=\)"
        ):
            llm.chat("hi")
        llm._driver._pool._free_connections.release()

        assert "echo: hi" == llm.chat("hi") == llm.chat("hi")
    assert 2 == len(server.posts)


async def test_who_waits_for_a_connection_in_tasks_waits_as_long_as_for_an_answer(
    server: FakeServer,
) -> None:
    async with AsyncLLM(
        base_url=server.url, served_model="fake-model", timeout=1, max_retries=0
    ) as llm:
        places = llm._driver._pool._free_connections[asyncio.get_running_loop()] = (
            asyncio.Semaphore(1)
        )
        await places.acquire()
        with pytest.raises(
            openai.APITimeoutError, match=r"connections to .* were busy for 1 s \(timeout=\)"
        ):
            await llm.chat("hi")
        places.release()

        assert "echo: hi" == await llm.chat("hi") == await llm.chat("hi")
    assert 2 == len(server.posts)


def first_and_pause(way: Way, llm: Any, seconds: float) -> None:
    """Read one piece of an answer, then nothing for a time; leave it."""
    pieces = way.answer(llm, way.question("hi", None))
    next(pieces)
    time.sleep(seconds)
    pieces.close()


async def afirst_and_pause(way: Way, llm: Any, seconds: float) -> None:
    async with contextlib.aclosing(way.answer(llm, way.question("hi", None))) as pieces:
        await anext(pieces)
        await asyncio.sleep(seconds)


@each_way(STREAMS)
def test_a_slow_reader_holds_up_the_server_and_not_the_memory(way: Way) -> None:
    """The server can send no more than the system's buffers hold, of an answer of 100 MB."""
    most = 100 * 1024 * 1024

    def answer(server: RawServer, connection: Any) -> None:
        connection.sendall(HEAD)
        server.flood(connection, AB * 1000, most)

    with RawServer(answer) as server, asyncio.Runner() as runner:
        llm = way.make(base_url=server.url, served_model="fake-model")
        if way.is_async:
            runner.run(afirst_and_pause(way, llm, 0.4))
            runner.run(llm.close() if way.name.startswith("AsyncLLM") else llm.aclose())
        else:
            first_and_pause(way, llm, 0.4)
            llm.close()

        assert 0 < server.sent < most // 4


FEW = """
import asyncio, collections, resource, sys, threading
from mlxcel_integrations import LLM, AsyncLLM
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
url, ends = sys.argv[1], collections.Counter()
def told(error):
    kind = type(error).__name__
    return kind + (" (ulimit)" if "Too many open files. Send fewer" in str(error) else "?")
def note(ask):
    try:
        ends[ask()] += 1
    except Exception as error:
        ends[told(error)] += 1
async def anote(ask):
    try:
        ends[await ask()] += 1
    except Exception as error:
        ends[told(error)] += 1
async def crowd():
    async with AsyncLLM(base_url=url, served_model="fake-model", max_retries=0) as llm:
        await asyncio.gather(*[anote(lambda: llm.chat("hi")) for _ in range(150)])
        return await llm.chat("after")
with LLM(base_url=url, served_model="fake-model", max_retries=0) as llm:
    threads = [threading.Thread(target=note, args=(lambda: llm.chat("hi"),)) for _ in range(150)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(llm.chat("after"))
print(asyncio.run(crowd()))
print(sorted(ends))
assert 300 == sum(ends.values())
"""


def test_with_too_few_descriptors_those_in_excess_are_told_and_the_rest_is_answered(
    server: FakeServer,
) -> None:
    server.script(*[Reply.text("ok", first_delay=0.3)] * 300)
    # What is left of the script answers what is asked after the crowds.
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", FEW, server.url],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 0 == done.returncode, done.stderr
    kinds = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    typed = {"APIConnectionError (ulimit)", "MlxcelError (ulimit)"}
    assert {"ok"} < kinds <= {"ok", *typed}


# --------------------------------------------------------------------------- neighbours

POISON = {
    **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), "http://[::1"),
    **dict.fromkeys(("ALL_PROXY", "all_proxy"), "socks5h://127.0.0.1:1"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), ",,[,*.,\u00e9"),
    "SSL_CERT_FILE": "/no/such/file",
    "SSL_CERT_DIR": "/no/such/directory",
    "REQUESTS_CA_BUNDLE": "/no/such/file",
}


@each_way(WAYS)
def test_no_proxy_and_no_certificate_matters_to_a_local_server(
    server: FakeServer, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in POISON.items():
        monkeypatch.setenv(name, value)

    assert ("echo: hi", None) == way(server.url)


def test_imports_read_no_proxy_and_no_certificate() -> None:
    code = (
        "import mlxcel_integrations as m, mlxcel_integrations.langchain as l; m.LLM; l.ChatMlxcel"
    )
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", code],
        env=POISON,
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr


@each_way(WAYS)
def test_a_redirect_is_refused_wherever_it_leads(server: FakeServer, way: Way) -> None:
    with FakeServer() as other:
        places = [f"{other.url}/v1/chat/completions", "file:///etc/passwd", "//[", "unix:///x"]
        with way.opened(base_url=server.url, api_key=KEY, served_model="fake-model") as ask:
            for status, place in zip((302, 301, 307, 308), places, strict=True):
                server.script(Reply.plain(status, "elsewhere", headers={"location": place}))
                text, error = ask()

                assert isinstance(error, openai.APIStatusError)
                assert ("", status) == (text, error.status_code)
        assert [] == other.requests
    assert 4 == len(server.posts)


class Connects:
    """Everything that this process looks up in the network, connects to, or opens.

    An audit hook cannot be taken away again: there is one for all tests, that may be switched off.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is not None and name.startswith(("socket.connect", "socket.get", "open")):
            self.seen.append((name, arguments[1] if name == "socket.connect" else arguments[0]))

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[tuple[str, Any]]]:
        self.seen = seen = []
        try:
            yield seen
        finally:
            self.seen = None


CONNECTS = Connects()

ADDRESSES = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:127.0.0.1]:{port}/x.png",
    "http://127.0.0.1:{port}/redirect",
    "http://localhost:{port}/slow",
    "http://2130706433:{port}/",
    "http://rebind.example.invalid/x.png",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x",
]


def sent_url(server: FakeServer) -> str:
    """Return the address of the image in the last request."""
    address: str = server.posts[-1].json["messages"][-1]["content"][-1]["image_url"]["url"]
    return address


@each_way(WAYS)
@pytest.mark.parametrize("allowed", [False, True], ids=["refused", "allowed"])
def test_the_address_of_an_image_is_nothing_that_is_looked_at_here(way: Way, allowed: bool) -> None:
    """Frameworks refuse it unless it is allowed; then the server gets it as it is."""
    # The older one does not tell what its model takes, and so is sent everything.
    with FakeServer("v0.4.2") as server, FakeServer() as trap:
        options = {"send_urls": True} if allowed and "LLM." not in way.name else {}
        with way.opened(base_url=server.url, served_model="fake-model", **options) as ask:
            assert ("echo: hi", None) == ask()
            server.requests.clear()
            for address in ADDRESSES:
                url = address.format(port=trap.port)
                with CONNECTS.watched() as seen:
                    _, error = ask("hi", url)

                ours = [what for name, what in seen if "socket" in name]
                assert [] == [what for what in ours if server.port not in what]
                assert [] == [what for name, what in seen if name == "open" and "passwd" in what]
                if "LLM." in way.name or allowed:
                    assert error is None
                    assert sent_url(server) in (url, str(pydantic.AnyUrl(url)))
                else:
                    assert isinstance(error, MlxcelError)
                    assert "send_urls=True" in str(error)
        assert (0, []) == (trap.connections, trap.requests)


@each_way(WAYS)
def test_neither_prompts_nor_keys_are_logged_above_debug(
    server: FakeServer, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """And no key at any level, whatever happens."""
    server.api_key = KEY
    replies = [Reply.text("SECRET answer"), Reply.error(500, "boom"), Reply.close()]
    server.script(*replies, Reply.events([AB, b"data: {\n\n"]), Reply.error(401, "wrong"))
    with caplog.at_level(logging.DEBUG), way.opened(base_url=server.url, api_key=KEY) as ask:
        for _ in range(5):
            ask("SECRET question")

    logged = [
        (record.levelno, f"{record.getMessage()} {vars(record)}") for record in caplog.records
    ]
    assert [] == [text for _, text in logged if KEY in text]
    assert [] == [text for level, text in logged if level > logging.DEBUG and "SECRET" in text]


# --------------------------------------------------------------------------- managed servers

ONE_OF_EACH = [
    way
    for way in WAYS
    if way.name
    in (
        *("LLM.chat_stream", "AsyncLLM.chat", "ChatMlxcel.invoke", "ChatMlxcel.astream"),
        *("Mlxcel.achat", "Mlxcel.stream_chat"),
    )
]


@each_way(ONE_OF_EACH)
def test_a_server_that_is_killed_inside_an_answer_is_told_and_started_again(
    fake: Fake, way: Way
) -> None:
    with way.opened(model="m", binary=fake.binary(CRASH_AFTER="1")) as ask:
        assert ("echo: hi", None) == ask()
        text, error = ask("a b c d e f")
        assert ("echo: hi", None) == ask()

    assert isinstance(error, MlxcelStreamError)
    assert re.search("cut short: .*SIGKILL.* send the request again", str(error))
    assert "mlxcel starting" in error.stderr
    assert error.partial
    assert "echo: a b c d e f".startswith(error.partial)
    assert text == (error.partial if way.streams else "")
    assert 2 == len(fake.starts)
