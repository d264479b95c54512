"""When a server that ends by itself is started again: at once, then ever later, then no more."""

from __future__ import annotations

import pytest

from mlxcel_integrations.supervisor.restart_policy import (
    MAX_INTERVAL_SECONDS,
    WINDOW_SECONDS,
    RestartPolicy,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_comes_at_once_and_the_next_ones_keep_a_growing_distance() -> None:
    clock = Clock()
    restarts = RestartPolicy(8, clock, lambda: 0.0)

    delays = []
    for _ in range(8):
        delay = restarts.delay()
        assert delay is not None
        delays.append(delay)
        clock.now += delay

    assert [0, 1, 2, 4, 8, 16, MAX_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS] == delays


def test_a_server_that_has_lived_for_a_while_is_started_at_once() -> None:
    clock = Clock()
    restarts = RestartPolicy(5, clock, lambda: 0.0)
    restarts.delay()
    clock.now += 20

    assert 0 == restarts.delay()


@pytest.mark.parametrize("max_restarts", [0, 1, 5])
def test_after_too_many_there_is_none_until_the_first_is_long_ago(max_restarts: int) -> None:
    clock = Clock()
    restarts = RestartPolicy(max_restarts, clock, lambda: 0.0)
    delays = [restarts.delay() for _ in range(max_restarts)]

    assert None not in delays
    assert restarts.delay() is None
    clock.now += WINDOW_SECONDS + 1
    assert (restarts.delay() is None) == (max_restarts == 0)


def test_chance_makes_the_distance_a_quarter_longer_at_most() -> None:
    delays = []
    for chance in (0.0, 1.0):
        restarts = RestartPolicy(5, Clock(), lambda jitter=chance: jitter)
        restarts.delay()
        delays.append(restarts.delay())

    assert [1.0, 1.25] == delays
