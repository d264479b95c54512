"""A start is watched closely and ends in one of six ways; no process, no sleep."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxcel_integrations.supervisor.readiness import (
    Ended,
    LoadFailed,
    NotAServer,
    Observation,
    Stalled,
    TooLate,
    until_ready,
)

FAILED = "2026-11-23T02:00:00.123456Z ERROR mlxcel::server: Failed to load model: no such tensor"
WARMUP = "2026-11-23T02:00:00.123456Z  WARN mlxcel::server: warmup failed (non-fatal): no model"
DOWNLOAD = "[2/9] downloading: model.safetensors"
BEGAN = 100.0


class Clock:
    """Time that passes only where the flow waits."""

    now = BEGAN

    def __call__(self) -> float:
        return self.now


def probes(see: Callable[[float], Observation], timeout: float = 1000.0) -> list[float]:
    """Drive the flow to its end and return when it asked for `/health`."""
    asked: list[float] = []

    def seen(now: float, probe: bool) -> Observation:
        if probe:
            asked.append(now)
        return see(now)

    drive(seen, timeout)
    return asked


def pauses(
    see: Callable[[float], Observation], timeout: float = 10.0, stall: float = 1000.0
) -> list[float]:
    """Drive the flow to its end; `see` tells what there is to be seen at a time after the start."""
    return drive(lambda now, probe: see(now), timeout, stall)


def drive(
    see: Callable[[float, bool], Observation], timeout: float, stall: float = 1000.0
) -> list[float]:
    clock = Clock()
    flow = until_ready(timeout, stall, clock)
    look, health = next(flow), None
    waited = [look.after]
    while True:
        clock.now += look.after
        seen = see(clock.now - BEGAN, look.probe)
        health = seen.health if look.probe else health
        try:
            look = flow.send(Observation(seen.returncode, health, seen.last_output_at, seen.log))
        except StopIteration:
            return waited
        waited.append(look.after)


def health(status: int | None, *, last_output_at: float = 0.0, log: str = "") -> Observation:
    return Observation(None, status, BEGAN + last_output_at, log)


class Script:
    """What happens at which time after the start; `ended` is when the flow was over.

    Args:
        log: Lines and when each is printed.
        statuses: Statuses of `/health` and from when on each holds.
    """

    def __init__(self, log: dict[float, str], statuses: dict[float, int | None]) -> None:
        self._log = log
        self._statuses = {0.0: None, **statuses}
        self.ended = 0.0

    def __call__(self, now: float) -> Observation:
        self.ended = now
        printed = [at for at in self._log if at <= now]
        status = self._statuses[max(at for at in self._statuses if at <= now)]
        log = "\n".join(self._log[at] for at in printed)
        return health(status, last_output_at=max(printed, default=0.0), log=log)


@pytest.mark.parametrize(("status", "longest"), [(None, 0.01), (503, 0.025)])
def test_looks_within_milliseconds_at_first_and_never_far_apart(
    status: int | None, longest: float
) -> None:
    waited = pauses(lambda now: health(200 if now > 2 else status))

    assert waited[0] <= 0.005
    assert waited == sorted(waited)
    assert max(waited) == longest
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
        pauses(lambda now: Observation(returncode, 200, BEGAN, ""))


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_something_that_knows_no_health_is_not_waited_for(status: int) -> None:
    with pytest.raises(NotAServer):
        pauses(lambda now: health(status))


@pytest.mark.parametrize("timeout", [0.001, 0.3, 3.0])
def test_a_server_that_is_late_is_given_up_in_time(timeout: float) -> None:
    script = Script({}, {})

    with pytest.raises(TooLate):
        pauses(script, timeout)
    assert timeout <= script.ended < timeout + 0.051


def test_an_answer_at_the_last_moment_counts() -> None:
    assert pauses(lambda now: health(200 if now >= 0.3 else None), timeout=0.3)


def test_a_server_that_talks_is_late_all_the_same() -> None:
    script = Script({at / 10: "loading layer" for at in range(100)}, {})

    with pytest.raises(TooLate):
        pauses(script, timeout=3.0)
    assert 3.0 <= script.ended < 3.06


def test_time_spent_downloading_does_not_count() -> None:
    script = Script({1.0: DOWNLOAD, 30.0: "loading weights"}, {35.0: 200})

    assert 35.0 <= sum(pauses(script, timeout=10.0)) < 35.06


def test_after_a_download_the_whole_time_is_left() -> None:
    script = Script({1.0: DOWNLOAD, 30.0: "loading weights"}, {})

    with pytest.raises(TooLate):
        pauses(script, timeout=10.0)
    assert 39.9 <= script.ended < 40.1


def test_a_silent_server_has_stalled() -> None:
    script = Script({1.5: "loading weights"}, {})

    with pytest.raises(Stalled):
        pauses(script, timeout=60.0, stall=4.0)
    assert 5.5 <= script.ended < 5.56


def test_a_server_that_never_said_anything_has_stalled() -> None:
    script = Script({}, {})

    with pytest.raises(Stalled):
        pauses(script, timeout=60.0, stall=4.0)
    assert 4.0 <= script.ended < 4.06


@pytest.mark.parametrize("log", [{at * 1.0: "loading layer" for at in range(20)}, {}])
def test_output_or_a_new_status_shows_that_it_goes_on(log: dict[float, str]) -> None:
    statuses: dict[float, int | None] = {1.5 * at: [None, 503][at % 2] for at in range(8)}
    script = Script(log, {} if log else statuses)
    script._statuses[12.0] = 200

    assert 12.0 <= sum(pauses(script, timeout=60.0, stall=2.0)) < 12.06


def test_a_download_that_stands_still_has_stalled() -> None:
    script = Script({1.0: DOWNLOAD}, {})

    with pytest.raises(Stalled):
        pauses(script, timeout=2.0, stall=30.0)
    assert 31.0 <= script.ended < 31.06


@pytest.mark.parametrize("bound", [0.0, 1.2])
def test_a_failed_load_is_told_within_5_s(bound: float) -> None:
    """The server binds long before, or soon after."""
    script = Script({1.0: FAILED, 1.1: WARMUP}, {bound: 503})

    with pytest.raises(LoadFailed, match=r"^Failed to load model: no such tensor$"):
        pauses(script, timeout=60.0)
    assert 4.0 <= script.ended < 5.0


def test_a_failed_load_is_known_when_its_line_is_out_of_sight() -> None:
    chatter = {2.0 + at / 100: f"request {at}" for at in range(200)}
    script = Script({1.0: FAILED, **chatter}, {1.2: 503})

    def see(now: float) -> Observation:
        seen = script(now)
        tail = "\n".join(seen.log.splitlines()[-10:])
        return Observation(seen.returncode, seen.health, seen.last_output_at, tail)

    with pytest.raises(LoadFailed):
        pauses(see, timeout=60.0)
    assert script.ended < 5.0


def test_a_failed_load_is_told_in_time_when_an_answer_is_missing() -> None:
    script = Script({1.0: FAILED}, {1.2: 503, 3.0: None, 4.0: 503})

    with pytest.raises(LoadFailed):
        pauses(script, timeout=60.0)
    assert script.ended < 5.0


@pytest.mark.parametrize("statuses", [{1.2: 503, 3.9: 200}, {3.9: 200}])
def test_a_server_that_is_ready_after_all_is_ready(statuses: dict[float, int | None]) -> None:
    assert pauses(Script({1.0: FAILED}, statuses))


@pytest.mark.parametrize("status", [None, 500])
def test_without_a_503_a_complaint_is_not_enough(status: int | None) -> None:
    with pytest.raises(TooLate):
        pauses(Script({1.0: FAILED}, {1.2: status}))


def test_without_a_complaint_a_503_is_not_enough() -> None:
    with pytest.raises(TooLate):
        pauses(Script({1.0: WARMUP}, {0.0: 503}))


# --------------------------------------------------------------------------- probing

LOADING = "INFO mlxcel: Model worker thread starting, loading model..."
LOADED = "INFO mlxcel: Model m loaded in 30.000s (resident after load: 4.00 GB)"


def test_a_server_that_loads_weights_is_asked_seldom() -> None:
    """Each answer of 503 is an error in the log of mlxcel."""
    asked = probes(Script({0.1: LOADING}, {0.2: 503, 60.0: 200}))

    while_loading = [at for at in asked if 20 < at < 59]
    assert 35 <= len(while_loading) <= 45
    assert asked[-1] < 61.1


def test_a_server_whose_weights_are_loaded_is_asked_at_once() -> None:
    asked = probes(Script({0.1: LOADING, 30.0: LOADED}, {0.2: 503, 30.5: 200}))

    assert any(30.0 <= at < 30.05 for at in asked)
    assert 30.5 <= asked[-1] < 30.53


def test_the_end_of_a_server_that_is_asked_seldom_is_seen_at_once() -> None:
    seen: list[float] = []

    def see(now: float) -> Observation:
        seen.append(now)
        return Observation(1 if now >= 30 else None, 503, BEGAN + 0.1, LOADING)

    with pytest.raises(Ended):
        pauses(see, timeout=100.0)
    assert seen[-1] < 30.02


@pytest.mark.parametrize("status", [None, 500])
def test_only_refusals_of_a_loading_server_are_avoided(status: int | None) -> None:
    script = Script({0.1: LOADING}, {0.2: status, 10.0: 200})

    assert len(probes(script)) == len(pauses(script))


def test_a_server_that_loads_for_a_second_is_hardly_late() -> None:
    asked = probes(Script({0.0: LOADING}, {0.1: 503, 1.0: 200}))

    assert asked[-1] < 1.3
