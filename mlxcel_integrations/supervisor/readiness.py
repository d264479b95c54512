"""When a server is ready: a flow that decides, and leaves the waiting to its driver."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass

from .progress_bar import read_progress, split_line

__all__ = [
    "Ended",
    "LoadFailed",
    "NotAServer",
    "Observation",
    "Stalled",
    "TooLate",
    "load_failure",
    "until_ready",
]

FIRST_PAUSE, GROWTH = 0.002, 1.3
LONGEST_PAUSE, LONGEST_PAUSE_IF_IT_ANSWERS = 0.01, 0.025

FAILURE_LASTS = 3.0
"""Seconds for which a complaint and a 503 must last: what fails may not be the model itself."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a server that is starting.

    Attributes:
        returncode: Its exit status, None while it runs.
        health: Status of its ``/health``, None if it does not answer yet.
        heard: When it printed something last, in seconds of the monotonic clock.
        log: The end of what it printed.
    """

    returncode: int | None
    health: int | None
    heard: float
    log: str


class Ended(Exception):
    """The process ended before it was ready."""


class NotAServer(Exception):
    """Something answers that is no model server."""


class LoadFailed(Exception):
    """The server runs, and will never be ready: its argument is the line that says so."""


class Stalled(Exception):
    """The server was silent for too long."""


class TooLate(Exception):
    """The server was not ready in time."""


def until_ready(
    startup_timeout: float, stall_timeout: float, clock: Callable[[], float]
) -> Generator[float, Observation, None]:
    """Yield how long to wait before the next look at the server; return when it is ready.

    Looks follow each other within milliseconds at first, since a server with a small or warm model
    is ready within a second, and never more than 10 ms apart, so that the first request waits for
    nothing; 25 ms where each look is a request that a busy server has to answer.

    Args:
        startup_timeout: Longest time until the server is ready, in seconds; downloads do not count.
        stall_timeout: Longest time without any output or change, in seconds.
        clock: Monotonic time, in seconds.

    Raises:
        Ended: The process ended.
        NotAServer: ``/health`` is refused or unknown.
        LoadFailed: The log says that the model cannot be loaded, and ``/health`` stays at 503.
        TooLate: The time is over.
        Stalled: Nothing was heard of it.
    """
    limits = _Limits(startup_timeout, stall_timeout, clock())
    pause = FIRST_PAUSE
    while True:
        seen = yield pause
        if seen.returncode is not None:
            raise Ended
        if seen.health == 200:
            return
        if seen.health in (401, 403, 404, 405):
            raise NotAServer
        limits.check(seen, clock())
        longest = LONGEST_PAUSE if seen.health is None else LONGEST_PAUSE_IF_IT_ANSWERS
        pause = min(pause * GROWTH, longest)


class _Limits:
    """What ends a start that is under way, and what must be remembered to know it."""

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

    def check(self, seen: Observation, now: float) -> None:
        """Take in what was seen, and raise when it is time."""
        # The log may be long: it is read only if there is something new in it.
        if (seen.heard, seen.health) != (self._heard, self._health):
            self._read(seen, now)
        if self._downloading:
            self._deadline = now + self._startup_timeout
        if self._failure is not None and now - self._failed >= FAILURE_LASTS:
            raise LoadFailed(self._failure)
        if now >= self._deadline:
            raise TooLate
        if now - self._changed >= self._stall_timeout:
            raise Stalled

    def _read(self, seen: Observation, now: float) -> None:
        self._changed = now if seen.health != self._health else max(self._changed, seen.heard)
        self._heard, self._health = seen.heard, seen.health
        progress = read_progress(seen.log)
        self._downloading = progress is not None and progress.downloading
        # The line may be out of sight later, and an answer may be missing now and then.
        if seen.health == 503 and self._failure is None and (line := load_failure(seen.log)):
            self._failure, self._failed = line, now


_LONGEST_LINE = 1000

_FAILURE = re.compile(
    r"""
    \b (?:fail(?:ed|ure)?|error|unable|cannot|can't|could\ not|couldn't) \b
    .{0,20}? \b load(?:ing)? \b .{0,30}? \b (?:model|weights?|checkpoint|tensors?|safetensors) \b
    | \b (?:model|weights?) \b .{0,10} \b load(?:ing)? \s (?:failed|error) \b
    | \b load(?:ing)? \b .{0,20} \b (?:model|weights?) \b .{0,60} \b failed \s* (?: : | $ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NOT_THE_MODEL = re.compile(
    r"warmup|draft|speculative|adapter|lora|embed|rerank|template|tokenizer|cache|mmproj|vision",
    re.IGNORECASE,
)
_NOT_FATAL = re.compile(r"non-?fatal|ignor|skipp|fall(?:ing|s)? back|retry|default", re.IGNORECASE)


def load_failure(log: str) -> str | None:
    """Return the first line that says that the model cannot be loaded, None if there is none."""
    return next((text for line in log.splitlines() if (text := _complaint(line))), None)


def _complaint(line: str) -> str | None:
    if "load" not in line.lower():
        return None
    level, text = split_line(line[:_LONGEST_LINE])
    found = _FAILURE.search(text)
    # Of what it goes on without, a server speaks in the same words, but mostly as a warning. Not
    # so after the match: there may be the path of a model with any name.
    harmless = level not in (None, "E") or _NOT_FATAL.search(text)
    return (
        text if found and not harmless and not _NOT_THE_MODEL.search(text[: found.end()]) else None
    )
