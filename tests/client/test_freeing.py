"""A server that nobody listens to any more is freed at once."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from mlxcel_integrations import LLM, AsyncLLM
from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts
from mlxcel_integrations.transport.endpoint import Endpoint
from mlxcel_integrations.transport.sync_pool import SyncPool
from tests.fakes.server import FakeServer, Reply
from tests.left_streams import LOOPS, runner_of


def freed(server: FakeServer) -> bool:
    """Whether the server notices, and has nothing left to do."""
    noticed = server.wait_disconnect()
    end = time.monotonic() + 10
    while server.generating and time.monotonic() < end:
        time.sleep(0.005)
    return noticed and not server.generating


def leave_by_break(llm: LLM) -> None:
    for _ in llm.chat_stream("hi"):
        break


def leave_by_close(llm: LLM) -> None:
    stream: Any = llm.stream("hi")
    next(stream)
    stream.close()


def leave_by_error(llm: LLM) -> None:
    with suppress(KeyboardInterrupt):
        for _ in llm.chat_stream("hi"):
            raise KeyboardInterrupt


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_close, leave_by_error])
def test_leaving_a_stream_frees_the_server(
    server: FakeServer, leave: Callable[[LLM], None]
) -> None:
    server.script(Reply.text("a b", delay=60))
    with LLM(base_url=server.url) as llm:
        leave(llm)

        assert freed(server)
        assert "echo: hi" == llm.chat("hi")


def test_a_stream_that_nobody_reads_asks_nothing(server: FakeServer) -> None:
    with LLM(base_url=server.url) as llm:
        _ = llm.chat_stream("hi")
    AsyncLLM(base_url=server.url).chat_stream("hi")

    assert [] == server.requests


Leave = Callable[[AsyncLLM, FakeServer], Awaitable[None]]


async def abreak(llm: AsyncLLM, server: FakeServer) -> None:
    async for _ in llm.chat_stream("hi"):
        break


async def aclose(llm: AsyncLLM, server: FakeServer) -> None:
    stream: Any = llm.stream("hi")
    await anext(stream)
    await stream.aclose()


async def araise(llm: AsyncLLM, server: FakeServer) -> None:
    with suppress(ZeroDivisionError):
        async for _ in llm.chat_stream("hi"):
            raise ZeroDivisionError


async def cancel(waiting: Awaitable[Any], server: FakeServer) -> None:
    task = asyncio.ensure_future(waiting)
    await asyncio.to_thread(server.wait_post)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def cancel_chat(llm: AsyncLLM, server: FakeServer) -> None:
    await cancel(llm.chat("hi"), server)


async def cancel_stream(llm: AsyncLLM, server: FakeServer) -> None:
    async def read() -> None:
        async for _ in llm.chat_stream("hi"):
            pass

    await cancel(read(), server)


async def time_out(llm: AsyncLLM, server: FakeServer) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            asked = asyncio.ensure_future(asyncio.to_thread(server.wait_post))
            asked.add_done_callback(lambda _: limit.reschedule(0))
            await llm.generate("hi")


@pytest.mark.parametrize("leave", [abreak, aclose, araise, cancel_chat, cancel_stream, time_out])
@pytest.mark.parametrize("loop", LOOPS)
def test_leaving_asynchronously_frees_the_server(
    server: FakeServer, leave: Leave, loop: str
) -> None:
    server.script(Reply.text("a b", delay=60))

    async def use() -> None:
        async with AsyncLLM(base_url=server.url) as llm:
            await leave(llm, server)

            assert await asyncio.to_thread(freed, server)
            assert "echo: hi" == await llm.chat("hi")

    with runner_of(loop) as runner:
        runner.run(use())


@pytest.mark.parametrize("place", ["tcp"], indirect=True)
@pytest.mark.parametrize("leave", [cancel_chat, cancel_stream, time_out])
async def test_leaving_before_the_first_byte_frees_the_server(
    server: FakeServer, leave: Leave
) -> None:
    server.script(Reply.hang())
    async with AsyncLLM(base_url=server.url) as llm:
        await leave(llm, server)

        assert await asyncio.to_thread(freed, server)


async def test_a_cancelled_task_ends_at_once(server: FakeServer) -> None:
    """Also one that is cancelled again while it closes its connection."""
    server.script(Reply.text("a b", delay=60))
    async with AsyncLLM(base_url=server.url) as llm:
        task = asyncio.ensure_future(llm.chat("hi"))
        await asyncio.to_thread(server.wait_post)
        start = time.monotonic()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

        assert task.cancelled()
        assert time.monotonic() - start < 5
        assert await asyncio.to_thread(freed, server)


def test_a_forgotten_client_leaves_nothing_open(server: FakeServer) -> None:
    """No connection and, as warnings are errors, no warning."""
    llm = LLM(base_url=server.url)
    llm.chat("hi")
    del llm
    asyncio.run(AsyncLLM(base_url=server.url).chat("hi"))
    gc.collect()

    end = time.monotonic() + 10
    while server.open_connections and time.monotonic() < end:
        time.sleep(0.005)
    assert 0 == server.open_connections


def test_a_connection_that_is_made_while_its_pool_is_closed_is_closed_with_its_answer(
    server: FakeServer,
) -> None:
    """As in threads that go on for a moment after another one has failed."""
    pool, endpoint = SyncPool(), Endpoint.parse(server.url, None)

    def close_meanwhile(event: str, info: object) -> None:
        if event.startswith("connection.connect") and event.endswith(".started"):
            pool.close()

    request = httpx.Request(
        "GET",
        f"{endpoint.url}/health",
        extensions={"timeout": {"pool": 1.0}, "trace": close_meanwhile},
    )

    incoming = pool.send(endpoint, request, Deadline(Timeouts(), now=0))
    incoming.closing.close()

    stream = incoming.response.extensions["network_stream"]
    assert -1 == stream.get_extra_info("socket").fileno()


def test_closing_twice_is_no_mistake(client: Any) -> None:
    client.chat("hi")
    client.close()
    client.close()
