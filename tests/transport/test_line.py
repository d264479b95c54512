"""The line before a server: turns are taken in order, and no more at once than there are slots."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import threading

import pytest

from mlxcel_integrations.transport import line as module
from mlxcel_integrations.transport.line import Line, Place, in_batch, line_of


def entered(line: Line, count: int) -> list[Place]:
    places = [line.enter() for _ in range(count)]
    return [place for place in places if place is not None]


def admitted(places: list[Place]) -> list[int]:
    return [number for number, place in enumerate(places) if place.done()]


def test_until_the_slots_are_known_one_is_under_way() -> None:
    line = Line()
    places = entered(line, 4)

    assert not line.slots_known
    assert [0] == admitted(places)
    line.learn(3)
    assert [0, 1, 2] == admitted(places)


def test_turns_come_in_order() -> None:
    line = Line()
    line.learn(2)
    places = entered(line, 5)

    line.leave(places[1])
    assert [0, 1, 2] == admitted(places)
    line.leave(places[0])
    line.leave(places[2])
    assert [0, 1, 2, 3, 4] == admitted(places)


def test_whoever_gives_up_holds_up_nobody() -> None:
    line = Line()
    line.learn(1)
    places = entered(line, 4)

    line.leave(places[1])
    places[2].cancel()
    line.leave(places[0])

    assert [0, 2, 3] == admitted(places)
    assert places[2].cancelled()


def test_a_place_is_given_back_once() -> None:
    line = Line()
    line.learn(1)
    places = entered(line, 3)

    line.leave(places[0])
    line.leave(places[0])
    line.leave(None)

    assert [0, 1] == admitted(places)


def test_a_place_that_is_lost_is_free() -> None:
    line = Line()
    line.learn(1)
    lost = line.enter()
    assert lost is not None
    del lost
    gc.collect()

    assert [0] == admitted(entered(line, 2))


def test_a_server_that_queues_needs_no_line() -> None:
    line = Line()
    places = entered(line, 3)
    line.learn(None)

    assert [0, 1, 2] == admitted(places)
    assert line.enter() is None
    assert Line(known=True).enter() is None


def test_a_server_whose_slots_are_unknown_gets_half_as_many_after_an_answer_that_broke_off() -> (
    None
):
    line = Line()
    places = entered(line, 9)
    line.learn(math.inf)
    assert list(range(9)) == admitted(places)

    line.broke_off()
    waiting = entered(line, 3)
    assert [] == admitted(waiting)
    for place in places[:6]:
        line.leave(place)
    assert [0] == admitted(waiting)
    line.learn(math.inf)  # it was asked again
    assert [0] == admitted(waiting)


@pytest.mark.parametrize("slots", [None, 4])
def test_a_server_that_tells_its_slots_or_needs_no_line_gets_as_many_as_before(
    slots: int | None,
) -> None:
    line = Line()
    line.learn(slots)
    under_way = entered(line, 4)

    line.broke_off()
    line.leave(next(iter(under_way), None))

    place = line.enter()
    assert place is None or place.done()


def test_a_single_answer_that_breaks_off_says_nothing_about_slots() -> None:
    line = Line()
    line.learn(math.inf)
    places = entered(line, 1)
    line.broke_off()

    assert [0, 1, 2] == admitted([*places, *entered(line, 2)])


def test_each_server_behind_an_address_has_as_many_slots() -> None:
    line = Line()
    line.learn(2)
    places = entered(line, 5)

    line.saw("a")
    assert [0, 1] == admitted(places)
    line.saw("b")
    line.saw("b")
    assert [0, 1, 2, 3] == admitted(places)


def test_what_is_forgotten_is_asked_again() -> None:
    line = Line()
    line.learn(2)
    line.forget()

    assert not line.slots_known


def test_an_address_has_one_line() -> None:
    first, second = line_of("http://h:1"), line_of("http://h:2")

    assert first is line_of("http://h:1")
    assert first is not second


async def test_tasks_and_threads_share_a_line() -> None:
    line = Line()
    line.learn(1)
    first, second, third = entered(line, 3)
    got = threading.Event()

    def wait_in_a_thread() -> None:
        second.result(5)
        got.set()

    thread = threading.Thread(target=wait_in_a_thread)
    thread.start()
    task = asyncio.ensure_future(asyncio.wait_for(asyncio.wrap_future(third), 5))
    line.leave(first)
    assert await asyncio.to_thread(got.wait, 5)
    assert not task.done()
    line.leave(second)
    await task
    thread.join()


async def test_a_task_that_is_cancelled_leaves_no_turn_behind() -> None:
    line = Line()
    line.learn(1)
    first, second, third = entered(line, 3)
    task = asyncio.ensure_future(asyncio.wait_for(asyncio.wrap_future(second), 5))
    await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    line.leave(first)

    assert third.done()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_stands_in_no_line_of_its_parent() -> None:
    line = line_of("http://h:1")
    line.learn(1)
    places = entered(line, 2)
    with module._lines_lock, line._lock:
        child = os.fork()
        if child == 0:
            own = entered(line_of("http://h:1"), 1)
            inherited = entered(line, 1)
            line.leave(places[0])
            before = admitted([*own, *inherited])
            line.leave(own[0])
            os._exit(int(([0], [0]) != (before, admitted(inherited))))

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert [0] == admitted(places)


def test_batches_let_others_pass() -> None:
    line = Line()
    line.learn(1)
    under_way = entered(line, 1)
    with in_batch():
        batch = entered(line, 3)
    interactive = entered(line, 2)

    line.leave(under_way[0])
    assert ([0], []) == (admitted(interactive), admitted(batch))
    line.leave(interactive[0])
    assert ([0, 1], []) == (admitted(interactive), admitted(batch))
    line.leave(interactive[1])
    line.leave(batch[1])
    line.leave(batch[0])
    assert [0, 2] == admitted(batch)


def test_threads_and_tasks_of_a_batch_belong_to_it() -> None:
    line = Line()
    line.learn(1)
    under_way = entered(line, 1)

    async def batch() -> list[Place]:
        with in_batch():
            first = asyncio.create_task(asyncio.to_thread(entered, line, 1))
        return await first

    waiting = asyncio.run(batch())
    [passing] = entered(line, 1)
    line.leave(under_way[0])

    assert passing.done()
    assert not waiting[0].done()
