"""An answer that is left frees the server at once, in both frameworks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from tests.adapters.ways import WAYS, Way, awaited
from tests.fakes.server import FakeServer, Reply


def leave_by_break(way: Way, llm: Any, server: FakeServer) -> None:
    for _ in way.begin(llm, "x"):
        break


def leave_by_close(way: Way, llm: Any, server: FakeServer) -> None:
    chunks = way.begin(llm, "x")
    next(chunks)
    chunks.close()


async def opened(way: Way, llm: Any) -> AsyncGenerator[Any, None]:
    chunks = way.begin(llm, "x")
    stream: AsyncGenerator[Any, None] = await chunks if asyncio.iscoroutine(chunks) else chunks
    return stream


async def leave_by_async_break(way: Way, llm: Any, server: FakeServer) -> None:
    async for _ in await opened(way, llm):
        break


async def leave_by_aclose(way: Way, llm: Any, server: FakeServer) -> None:
    chunks = await opened(way, llm)
    await anext(chunks)
    await chunks.aclose()


async def leave_by_cancel(way: Way, llm: Any, server: FakeServer) -> None:
    task = asyncio.ensure_future(awaited(way.begin(llm, "x")))
    await asyncio.to_thread(server.wait_post)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


Leave = Callable[[Way, Any, FakeServer], Coroutine[Any, Any, None] | None]


def ways_to_leave(way: Way) -> list[Leave]:
    """Return what fits a method; a synchronous one that returns a whole answer cannot be left."""
    if not way.is_async:
        return [leave_by_break, leave_by_close] if way.streams else []
    streams: list[Leave] = [leave_by_async_break, leave_by_aclose]
    return [leave_by_cancel, *(streams if way.streams else [])]


@pytest.mark.parametrize(
    ("generation", "handled"),
    [("v0.4.2", False), ("newest", True)],
    ids=["no handlers", "handlers"],
)
@pytest.mark.parametrize(
    ("way", "leave"),
    [
        pytest.param(way, leave, id=f"{way}, {leave.__name__}")
        for way in WAYS
        for leave in ways_to_leave(way)
    ],
    indirect=["way"],
)
def test_leaving_an_answer_closes_its_connection_at_once(
    server: FakeServer, way: Way, leave: Leave, handled: bool
) -> None:
    server.script(Reply.text("word " * 1000, delay=0.02))

    with way.model(server, **(way.framework().handlers() if handled else {})) as llm:

        async def leave_in_a_loop(left: Coroutine[Any, Any, None]) -> None:
            await left
            assert await asyncio.to_thread(server.wait_disconnect)

        left = leave(way, llm, server)
        if left is not None:
            asyncio.run(leave_in_a_loop(left))
        assert server.wait_disconnect()
