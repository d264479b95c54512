"""A start is watched closely and ends in one of four ways; no process, no sleep."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxcel_integrations.supervisor.readiness import (
    Ended,
    NotAServer,
    Observation,
    TooLate,
    until_ready,
)


class Clock:
    """Time that passes only where the flow waits."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def pauses(see: Callable[[float], Observation], timeout: float = 10.0) -> list[float]:
    """Drive the flow to its end; `see` tells what there is to be seen at a time."""
    clock = Clock()
    flow = until_ready(timeout, clock)
    waited = [next(flow)]
    while True:
        clock.now += waited[-1]
        try:
            waited.append(flow.send(see(clock.now)))
        except StopIteration:
            return waited


def health(status: int | None) -> Observation:
    return Observation(None, status)


def test_looks_within_milliseconds_at_first_and_never_more_than_50_ms_apart() -> None:
    waited = pauses(lambda now: health(200 if now > 2 else None))

    assert waited[0] <= 0.005
    assert waited == sorted(waited)
    assert max(waited) == 0.05
    assert sum(waited) < 2.06


@pytest.mark.parametrize("status", [None, 500, 502, 503])
def test_a_server_that_is_silent_or_loading_is_waited_for(status: int | None) -> None:
    assert sum(pauses(lambda now: health(200 if now > 1 else status))) > 1


def test_a_server_that_is_ready_at_once_costs_one_pause() -> None:
    assert 1 == len(pauses(lambda now: health(200)))


@pytest.mark.parametrize("returncode", [0, 1, -9])
def test_an_end_counts_more_than_an_answer(returncode: int) -> None:
    """The answer may be that of another server at the same address."""
    with pytest.raises(Ended):
        pauses(lambda now: Observation(returncode, 200))


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_something_that_knows_no_health_is_not_waited_for(status: int) -> None:
    with pytest.raises(NotAServer):
        pauses(lambda now: health(status))


@pytest.mark.parametrize("timeout", [0.001, 0.3, 3.0])
def test_a_server_that_is_late_is_given_up_in_time(timeout: float) -> None:
    seen: list[float] = []

    def see(now: float) -> Observation:
        seen.append(now)
        return health(None)

    with pytest.raises(TooLate):
        pauses(see, timeout)
    assert timeout <= seen[-1] < timeout + 0.051


def test_an_answer_at_the_last_moment_counts() -> None:
    assert pauses(lambda now: health(200 if now >= 0.3 else None), timeout=0.3)
