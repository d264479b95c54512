"""Readiness of a server that starts: a generator that decides, while its driver waits."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from .log_lines import is_loading, load_failure, read_progress

__all__ = [
    "Ended",
    "LoadFailed",
    "Look",
    "NotAServer",
    "Observation",
    "Stalled",
    "TooLate",
    "until_ready",
]

FIRST_PAUSE, GROWTH = 0.002, 1.3
MAX_PAUSE, MAX_PAUSE_ANSWERING, MAX_PAUSE_LOADING = 0.01, 0.025, 1.0

LOAD_FAILURE_SECONDS = 3.0
"""Seconds that a load error and 503 must last together before the start is given up.

A side model may have failed, without which the server goes on.
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What to do next about a server that is starting.

    Attributes:
        after: Seconds to wait first.
        probe: Whether to ask for ``/health``, too, and not only look at the process and its log.
    """

    after: float
    probe: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a server that is starting.

    Attributes:
        returncode: Its exit status, None while it runs.
        health: Status of its last probe, None if ``/health`` did not answer yet.
        last_output_at: When it last printed something, in seconds of the monotonic clock.
        log: The end of its output.
    """

    returncode: int | None
    health: int | None
    last_output_at: float
    log: str


class Ended(Exception):
    """The process ended before it was ready."""


class NotAServer(Exception):
    """Something answers that is not a model server."""


class LoadFailed(Exception):
    """The server runs, but will never be ready; the argument is the line that says so."""


class Stalled(Exception):
    """The server was silent for too long."""


class TooLate(Exception):
    """The server was not ready in time; the argument is the last status of ``/health``."""


def until_ready(
    startup_timeout: float, stall_timeout: float, clock: Callable[[], float]
) -> Generator[Look, Observation, None]:
    """Yield each look at the server that is due; return when it is ready.

    The pauses start at 2 ms, since a server with a small or warm model is ready within a second,
    and grow to 10 ms, so that the first request does not wait; or to 25 ms once each look is a
    request that a busy server has to answer. While the log says that weights are loading, the
    server is asked up to a second apart, since mlxcel logs each refusal as an error, and at once
    when the log says that they are loaded.

    Args:
        startup_timeout: Longest time until the server is ready, in seconds; downloads do not count.
        stall_timeout: Longest time without any output or change, in seconds.
        clock: Monotonic time, in seconds.

    Raises:
        Ended: The process ended.
        NotAServer: ``/health`` is refused or missing.
        LoadFailed: The log says that the model cannot be loaded, and ``/health`` stays at 503.
        TooLate: It was not ready within ``startup_timeout``.
        Stalled: It was silent for ``stall_timeout``.
    """
    limits = _Limits(startup_timeout, stall_timeout, clock())
    look, between_probes, probed = Look(FIRST_PAUSE, probe=True), FIRST_PAUSE, clock()
    while True:
        seen = yield look
        now = clock()
        if seen.returncode is not None:
            raise Ended
        if seen.health == 200:
            return
        if seen.health in (401, 403, 404, 405):
            raise NotAServer
        limits.check(seen, now, after_probe=look.probe)
        seldom = seen.health == 503 and limits.loading
        if look.probe:
            probed, between_probes = now, between_probes * GROWTH
        longest = MAX_PAUSE if seen.health is None else MAX_PAUSE_ANSWERING
        between_probes = min(between_probes, MAX_PAUSE_LOADING if seldom else longest)
        pause = min(between_probes, MAX_PAUSE) if seldom else between_probes
        look = Look(pause, probe=not seldom or now + pause >= probed + between_probes)


class _Limits:
    """Limits that end a start, and what must be remembered to check them."""

    def __init__(self, startup_timeout: float, stall_timeout: float, now: float) -> None:
        self._startup_timeout = startup_timeout
        self._stall_timeout = stall_timeout
        self._deadline = now + startup_timeout
        self._changed = now
        self._heard: float | None = None
        self._health: int | None = None
        self._downloading = False
        self._failure: str | None = None
        self._failed = now
        self.loading = False

    def check(self, seen: Observation, now: float, *, after_probe: bool) -> None:
        """Take in an observation of the server, and raise if a limit is exceeded."""
        # The log may be long: it is read only if there is something new in it.
        if (seen.last_output_at, seen.health) != (self._heard, self._health):
            self._read(seen, now)
        if self._downloading:
            self._deadline = now + self._startup_timeout
        # Only after the server was asked once more.
        failed = self._failure is not None and now - self._failed >= LOAD_FAILURE_SECONDS
        if failed and after_probe:
            raise LoadFailed(self._failure)
        if now >= self._deadline:
            raise TooLate(seen.health)
        if now - self._changed >= self._stall_timeout:
            raise Stalled

    def _read(self, seen: Observation, now: float) -> None:
        self._changed = (
            now if seen.health != self._health else max(self._changed, seen.last_output_at)
        )
        self._heard, self._health = seen.last_output_at, seen.health
        progress = read_progress(seen.log)
        self._downloading = progress is not None and progress.downloading
        # Kept, since the line may scroll out of the log later, and an answer may be missing.
        if seen.health == 503 and self._failure is None and (line := load_failure(seen.log)):
            self._failure, self._failed = line, now
        self.loading = self._failure is not None or is_loading(seen.log)
