"""Turns of streams in one event loop."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mlxcel_integrations.transport.turns import LONG_ITERATION_SECONDS, MAX_TURNS, Turns


async def turns_in_each_iteration(
    stream: Callable[[int], Coroutine[Any, Any, None]], done: list[Any], most: int
) -> list[int]:
    """Run streams until they had so many turns; return how many in each iteration of the loop."""
    streams = [asyncio.ensure_future(stream(name)) for name in range(3 * MAX_TURNS)]
    seen = [0]
    while len(done) < most:
        await asyncio.sleep(0)
        seen.append(len(done))
    await asyncio.gather(*streams)
    return [later - earlier for earlier, later in itertools.pairwise(seen)]


async def test_turns_come_in_order_and_a_few_in_each_iteration_of_the_loop() -> None:
    turns, done = Turns.of_this_loop(), []

    async def stream(name: int) -> None:
        for _ in range(3):
            await turns.take()
            done.append(name)

    had_turns = await turns_in_each_iteration(stream, done, 9 * MAX_TURNS)

    assert [*range(3 * MAX_TURNS)] * 3 == done
    assert max(had_turns) <= MAX_TURNS


async def test_a_stream_begins_at_once_if_no_other_waits() -> None:
    turns, done = Turns.of_this_loop(), []
    await turns.join()

    async def begin() -> None:
        await turns.join()
        done.append("new")

    async def go_on() -> None:
        await turns.take()
        done.append("old")

    await asyncio.gather(go_on(), begin())

    assert ["old", "new"] == done


async def test_of_many_streams_that_begin_together_a_few_do_so_in_each_iteration() -> None:
    turns, begun = Turns.of_this_loop(), []

    async def begin(name: int) -> None:
        await turns.join()
        begun.append(name)

    had_turns = await turns_in_each_iteration(begin, begun, 3 * MAX_TURNS)

    assert [*range(3 * MAX_TURNS)] == begun
    assert max(had_turns) <= MAX_TURNS


async def test_of_streams_whose_turns_take_long_only_one_has_a_turn_in_an_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How long a turn takes is up to the reader: adapters do more with a token than the core."""
    clock = itertools.count(0.0, 2 * LONG_ITERATION_SECONDS)
    monkeypatch.setattr(time, "thread_time", lambda: next(clock))
    turns, done = Turns.of_this_loop(), []

    async def stream(name: int) -> None:
        await turns.take()
        done.append(name)

    had_turns = await turns_in_each_iteration(stream, done, 3 * MAX_TURNS)

    assert [4, 2, *[1] * (3 * MAX_TURNS - 6)] == [turns for turns in had_turns if turns]

    monkeypatch.setattr(time, "thread_time", lambda: 0.0)
    more = [asyncio.ensure_future(stream(name)) for name in range(9 * MAX_TURNS)]
    most = 0
    while not all(one.done() for one in more):
        before = len(done)
        await asyncio.sleep(0)
        most = max(most, len(done) - before)

    assert MAX_TURNS == most


async def test_a_stream_that_is_left_takes_no_turn() -> None:
    turns = Turns.of_this_loop()
    left = asyncio.ensure_future(turns.take())
    other = asyncio.ensure_future(turns.take())
    await asyncio.sleep(0)
    left.cancel()

    await asyncio.wait_for(other, 5)
    with pytest.raises(asyncio.CancelledError):
        await left


def test_each_loop_has_turns_of_its_own() -> None:
    async def turns() -> Turns:
        assert Turns.of_this_loop() is Turns.of_this_loop()
        return Turns.of_this_loop()

    assert asyncio.run(turns()) is not asyncio.run(turns())


@pytest.mark.parametrize("ended", ["over", "cancelled", "left in the middle"])
def test_a_loop_that_is_closed_is_not_kept(ended: str) -> None:
    """A program may run a loop for each request, and go on for months."""
    loop = asyncio.new_event_loop()

    async def stream() -> None:
        await Turns.of_this_loop().join()
        for _ in range(3):
            await Turns.of_this_loop().take()

    streams = [loop.create_task(stream()) for _ in range(3 * MAX_TURNS)]
    if ended == "over":
        loop.run_until_complete(asyncio.gather(*streams))
    loop.run_until_complete(asyncio.sleep(0))
    while streams:
        left = streams.pop()
        left._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be left
        if ended == "cancelled":
            left.cancel()
    loop.close()
    closed = weakref.ref(loop)
    del loop, left
    gc.collect()

    assert closed() is None


def test_a_loop_that_is_stopped_goes_on_with_its_turns() -> None:
    loop, done = asyncio.new_event_loop(), []

    async def stream(name: int) -> None:
        await Turns.of_this_loop().take()
        done.append(name)

    streams = [loop.create_task(stream(name)) for name in range(3 * MAX_TURNS)]
    while len(done) < len(streams):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()

    assert [*range(3 * MAX_TURNS)] == done
