"""When a server is ready: a flow that decides, and leaves the waiting to its driver."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

__all__ = ["Ended", "NotAServer", "Observation", "TooLate", "until_ready"]

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.002, 0.05, 1.3


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a server that is starting.

    Attributes:
        returncode: Its exit status, None while it runs.
        health: Status of its ``/health``, None if it does not answer yet.
    """

    returncode: int | None
    health: int | None


class Ended(Exception):
    """The process ended before it was ready."""


class NotAServer(Exception):
    """Something answers that is no model server."""


class TooLate(Exception):
    """The server was not ready in time."""


def until_ready(timeout: float, clock: Callable[[], float]) -> Generator[float, Observation, None]:
    """Yield how long to wait before the next look at the server; return when it is ready.

    Looks follow each other within milliseconds at first, since a server with a small or warm model
    is ready within a second, and never more than 50 ms apart, so that an exit is seen at once.

    Args:
        timeout: Longest time until the server is ready, in seconds.
        clock: Monotonic time, in seconds.

    Raises:
        Ended: The process ended.
        NotAServer: ``/health`` is refused or unknown.
        TooLate: The time is over.
    """
    deadline = clock() + timeout
    pause = FIRST_PAUSE
    while True:
        seen = yield pause
        if seen.returncode is not None:
            raise Ended
        if seen.health == 200:
            return
        if seen.health in (401, 403, 404, 405):
            raise NotAServer
        if clock() >= deadline:
            raise TooLate
        pause = min(pause * GROWTH, LONGEST_PAUSE)
