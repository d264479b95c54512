"""One start at a time, for all who wait; no process is started."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from mlxcel_integrations import MlxcelServerError
from mlxcel_integrations.supervisor.single_flight import (
    CancelledWithin,
    SingleFlight,
    StartCancelled,
    Waiter,
)

from .conftest import wait_until


class Attempts:
    """Starts that take until they are let go, or are cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count = 0
        self.go = threading.Event()
        self._error = error

    def __call__(self, cancelled_within: CancelledWithin) -> None:
        self.count += 1
        while not self.go.is_set():
            if cancelled_within(0.005):
                raise StartCancelled("cancelled")
        if self._error is not None:
            raise self._error


def join(flight: SingleFlight, attempt: Callable[[CancelledWithin], None]) -> Waiter:
    waiter = Waiter()
    flight.join(waiter, attempt)
    return waiter


def test_all_who_wait_share_one_attempt() -> None:
    flight, attempts = SingleFlight(), Attempts()
    waiters = [join(flight, attempts) for _ in range(8)]
    attempts.go.set()

    assert [None] * 8 == [waiter.future.result(30) for waiter in waiters]
    # Those whose thread came too late to join it began another one, which had nothing to do.
    assert attempts.count <= 8


def test_who_comes_while_an_attempt_is_under_way_joins_it() -> None:
    flight, attempts = SingleFlight(), Attempts()
    first = join(flight, attempts)
    assert wait_until(lambda: attempts.count == 1)
    second = join(flight, attempts)
    assert wait_until(lambda: second.thread is not None and not second.thread.is_alive())
    attempts.go.set()

    assert (None, None) == (first.future.result(30), second.future.result(30))
    assert 1 == attempts.count


def test_an_error_is_told_to_all() -> None:
    flight, attempts = SingleFlight(), Attempts(MlxcelServerError("boom"))
    waiters = [join(flight, attempts) for _ in range(3)]
    attempts.go.set()

    for waiter in waiters:
        with pytest.raises(MlxcelServerError, match="boom"):
            waiter.future.result(30)


def test_the_next_one_after_an_end_begins_anew() -> None:
    flight, attempts = SingleFlight(), Attempts()
    attempts.go.set()
    for count in (1, 2):
        join(flight, attempts).future.result(30)
        assert count == attempts.count


def test_one_who_leaves_does_not_cancel_it_for_the_others() -> None:
    flight, attempts = SingleFlight(), Attempts()
    first = join(flight, attempts)
    assert wait_until(lambda: attempts.count == 1)
    second = join(flight, attempts)
    assert wait_until(lambda: second.thread is not None and not second.thread.is_alive())

    first.leave()
    attempts.go.set()

    second.future.result(30)
    assert 1 == attempts.count


def test_the_last_one_who_leaves_cancels_it() -> None:
    flight, attempts = SingleFlight(), Attempts()
    waiter = join(flight, attempts)
    assert wait_until(lambda: attempts.count == 1)

    waiter.leave(timeout=30)

    assert isinstance(waiter.future.exception(0), StartCancelled)


def test_who_comes_after_the_last_one_has_left_gets_another_attempt() -> None:
    flight, cancelled, ended = SingleFlight(), threading.Event(), threading.Event()
    count = 0

    def slow_to_end(cancelled_within: CancelledWithin) -> None:
        nonlocal count
        count += 1
        if count == 1:
            assert cancelled_within(30)
            cancelled.set()
            ended.wait(30)
            raise StartCancelled("cancelled")

    first = join(flight, slow_to_end)
    assert wait_until(lambda: count == 1)
    first.leave()
    assert cancelled.wait(30)
    second = join(flight, slow_to_end)
    assert wait_until(lambda: second.thread is not None and not second.thread.is_alive())
    ended.set()

    assert second.future.result(30) is None
    assert isinstance(first.future.exception(5), StartCancelled)
    assert 2 == count


def test_a_suspension_cancels_the_start_and_lets_none_begin() -> None:
    flight, attempts = SingleFlight(), Attempts()
    waiter = join(flight, attempts)
    assert wait_until(lambda: attempts.count == 1)

    with flight.suspended(5):
        assert isinstance(waiter.future.exception(0), StartCancelled)
        with pytest.raises(StartCancelled):
            join(flight, attempts).future.result(30)
    attempts.go.set()

    assert join(flight, attempts).future.result(30) is None


def test_a_waiter_forgets_the_error() -> None:
    flight, attempts = SingleFlight(), Attempts(MlxcelServerError("boom"))
    attempts.go.set()
    waiter = join(flight, attempts)
    assert waiter.future.exception(5) is not None

    waiter.forget()

    assert not waiter.future.done()


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("can't start new thread", r"Cannot start a thread for the server: can't.*ulimit -u"),
        # In the words of Python 3.12 and 3.14.
        ("can't create new thread at interpreter shutdown", "^The program is ending, so no server"),
        ("can't start new thread at interpreter shutdown", "^The program is ending, so no server"),
    ],
)
def test_without_a_thread_it_is_an_error(
    reason: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    waiter = Waiter()

    with pytest.raises(MlxcelServerError, match=told):
        SingleFlight().join(waiter, Attempts())
    waiter.leave(timeout=60)


def test_a_forked_child_begins_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    """The thread that runs the start of the parent does not exist in the child."""
    flight, attempts = SingleFlight(), Attempts()
    waiter = join(flight, attempts)
    assert wait_until(lambda: attempts.count == 1)
    child = os.fork()
    if child == 0:
        threading.Timer(5, os._exit, (1,)).start()
        attempts.go.set()
        join(flight, attempts).future.result(30)
        os._exit(0 if attempts.count == 2 else 2)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    attempts.go.set()
    waiter.future.result(30)
