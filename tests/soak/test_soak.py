"""Short runs of what `make soak` does for long: all are answered, and nothing stays or grows."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.faults.measurements import Figure
from tests.soak.chaos import chaos
from tests.soak.kills import kills
from tests.soak.restarts import connected, managed
from tests.soak.trials import cancels, slow_reader, streams, together

TRIALS: dict[str, Callable[[], Figure]] = {
    "streams": lambda: streams(300),
    "cancels": lambda: cancels(600),
    "slow reader": lambda: slow_reader(10),
    "together": lambda: together(1),
    "managed": lambda: managed(1),
    "connected": lambda: connected(1),
    "chaos": lambda: chaos(20),
    "kills": lambda: kills(150),
}


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_a_short_run(trial: Callable[[], Figure]) -> None:
    if trial in (TRIALS["kills"], TRIALS["chaos"]) and sys.platform != "linux":
        pytest.skip("looks into /proc")
    figure = trial()

    assert figure.ok, figure
