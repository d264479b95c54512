"""What would block an event loop is done in a thread, as long as Python runs threads."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts
from mlxcel_integrations.transport import async_pool
from mlxcel_integrations.transport.async_pool import AsyncPool, off_loop
from mlxcel_integrations.transport.endpoint import Endpoint
from mlxcel_integrations.transport.steps import Incoming


def test_work_is_done_off_the_loop() -> None:
    done: list[Any] = []

    asyncio.run(off_loop(lambda *args: done.append((threading.current_thread(), *args)), 1, 2))

    assert [1, 2] == list(done[0][1:])
    assert threading.main_thread() is not done[0][0]


async def test_work_is_done_though_all_threads_of_the_loop_wait_for_it() -> None:
    loop, done = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    waiting = loop.run_in_executor(None, done.wait, 30)

    await off_loop(done.set)

    assert await waiting


@pytest.mark.parametrize("refusal", ["can't start new thread", "at interpreter shutdown"])
def test_work_is_done_here_when_no_thread_can_be_started(
    refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError(refusal)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert threading.main_thread() is asyncio.run(off_loop(threading.current_thread))


def test_work_is_done_here_when_python_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Thread()
    monkeypatch.setattr(threading, "main_thread", lambda: ended)

    assert threading.current_thread() is asyncio.run(off_loop(threading.current_thread))


def test_an_error_of_the_work_is_raised() -> None:
    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        asyncio.run(off_loop(fail))


class Failing(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("no")


async def test_a_transport_without_a_pool_has_no_connections_that_were_left_in_it() -> None:
    request = httpx.Request("GET", "http://localhost:1", extensions={"timeout": {"pool": 1}})

    with pytest.raises(httpx.ReadError):
        await AsyncPool(Failing()).send(
            Endpoint.parse("http://localhost:1", None), request, Deadline(Timeouts(), 0)
        )


class Answering(httpx.AsyncBaseTransport):
    """Answers each request with a body that was not read yet."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Body())


class Body(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"


async def test_a_response_that_is_closed_twice_gives_one_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(async_pool, "MAX_CONNECTIONS", 1)
    pool = AsyncPool(Answering())

    async def send() -> Incoming:
        request = httpx.Request("GET", "http://localhost:1", extensions={"timeout": {"pool": 0}})
        endpoint = Endpoint.parse("http://localhost:1", None)
        return await pool.send(endpoint, request, Deadline(Timeouts(), 0))

    first = await send()
    with pytest.raises(httpx.PoolTimeout):
        await send()

    await first.closing.aclose()
    await first.closing.aclose()

    await send()
    with pytest.raises(httpx.PoolTimeout):
        await send()


async def test_a_limit_of_open_files_that_is_met_while_importing_is_a_connection_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(names: tuple[str, ...]) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(async_pool, "_WITH_FIRST_REQUEST", ("not imported yet",))
    monkeypatch.setattr(async_pool, "import_each", refuse)

    with pytest.raises(httpx.ConnectError, match="Too many open files"):
        await AsyncPool().transport(Endpoint.parse("http://localhost:1", None))
