"""Ways to leave an asynchronous stream, and event loops that must have nothing to say about it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import pytest

from tests.fakes.server import FakeServer, Reply

__all__ = ["LOOPS", "WAYS", "Opened", "Way", "leave_in_a_loop", "long_answer", "runner_of"]

Opened = Callable[[], Awaitable[AsyncIterator[object]]]
"""Opens a stream."""
Way = Callable[[Opened], Awaitable[None]]

LOOPS = [
    "asyncio",
    "asyncio in debug mode",
    pytest.param(
        "uvloop",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
        ),
    ),
]

# --------------------------------------------------------------------------- ways


class Mistake(Exception):
    """An error of the user's, which ends the program."""


async def a_break(opened: Opened) -> None:
    async for _ in await opened():
        break


async def a_return(opened: Opened) -> None:
    async for _ in await opened():
        return


async def a_break_with_the_stream_kept(opened: Opened) -> None:
    stream = await opened()
    async for _ in stream:
        break


async def an_error(opened: Opened) -> None:
    stream = await opened()
    async for _ in stream:
        raise Mistake


async def aclose(opened: Opened) -> None:
    stream = await opened()
    assert isinstance(stream, AsyncGenerator)
    await anext(stream)
    await stream.aclose()


async def a_timeout(opened: Opened) -> None:
    task, _ = await _reader(opened)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await task


async def a_cancelled_task(opened: Opened) -> None:
    task, _ = await _reader(opened)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def a_task_that_its_program_ends_with(opened: Opened) -> None:
    global _last
    _last = await _reader(opened)


_last: object = None
"""Keeps a task, of which a loop itself has only a weak reference."""


async def _reader(opened: Opened) -> tuple[asyncio.Task[None], asyncio.Event]:
    """Return a task that reads a stream, once it has begun to."""
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in await opened():
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    return task, begun


WAYS: list[Way] = [
    a_break,
    a_return,
    a_break_with_the_stream_kept,
    an_error,
    aclose,
    a_timeout,
    a_cancelled_task,
    a_task_that_its_program_ends_with,
]

# --------------------------------------------------------------------------- loops


def runner_of(loop: str) -> asyncio.Runner:
    """Return a runner with a loop of this kind."""
    factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
    return asyncio.Runner(loop_factory=factory, debug=loop == "asyncio in debug mode")


def long_answer(text: str = "") -> Reply:
    """Return an answer that is still on its way when it is left."""
    return Reply.text(text + "word " * 2000, delay=0.01)


def leave_in_a_loop(
    loop: str, way: Way, opened: Opened, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Leave a stream as the last thing in a loop: the server is freed, and nothing is logged.

    What is printed by the interpreter itself becomes a warning, and these are errors.
    """
    # What is there already, which is much, need not be looked at for garbage, now or later.
    gc.freeze()
    with contextlib.suppress(Mistake), runner_of(loop) as runner:
        runner.run(way(opened))  # type: ignore[arg-type]  # a coroutine
    gc.collect()

    assert server.wait_disconnect(5)
    assert [] == [
        record.getMessage()
        for record in caplog.records
        if record.name == "asyncio" and record.levelno >= logging.ERROR
    ]
