"""Timeouts of a request, and the deadline of its next read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

from .arguments import as_seconds

__all__ = ["MAX_WAIT_SECONDS", "Deadline", "Timeouts"]

MAX_WAIT_SECONDS = 14 * 24 * 3600.0
"""Longest wait in seconds, for infinite timeouts too: systems count milliseconds in 32 bits."""


class Timeouts(NamedTuple):
    """The limits of requests, in seconds: options of ``LLM``, whose docstring describes them."""

    timeout: float | None = None
    connect_timeout: float = 10.0
    token_timeout: float | None = None
    total_timeout: float | None = None

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return limits as a user has given them.

        Raises:
            MlxcelError: One is not a number of seconds.
        """
        limits = {name: as_seconds(name, value) for name, value in given.items()}
        return cls(**{name: limit for name, limit in limits.items() if limit is not None})

    @property
    def read(self) -> float:
        """Longest silence until an answer begins."""
        return 600.0 if self.timeout is None else min(self.timeout, MAX_WAIT_SECONDS)

    @property
    def connect(self) -> float:
        """Longest time until a connection is made."""
        return min(self.connect_timeout, self.read)

    @property
    def connect_name(self) -> str:
        """Name of the argument that limits it."""
        return "connect_timeout" if self.connect_timeout <= self.read else "timeout"


class Deadline:
    """The deadline of the next read of one request, and the end of all of its reads.

    Until the first token, anything that arrives shows that the server is alive, such as the
    comments that it sends while it reads a long prompt; only a report of progress that does not
    move shows nothing. From then on, only tokens count.

    Args:
        timeouts: The limits.
        now: The current time, in seconds; all times here are on the same clock.

    Attributes:
        timeout: Longest time that the next read may take, in seconds.
        stands_still: Whether the server reports progress of the prompt that does not move.
    """

    def __init__(self, timeouts: Timeouts, now: float) -> None:
        self._timeouts = timeouts
        self._began = self.stands_still = False
        self._name, self._limit = "timeout", timeouts.read
        self._alive_at = now
        total = timeouts.total_timeout
        self._end = math.inf if total is None else now + total
        self._end_of_all = self._end
        self.timeout = min(self._limit, self._end - now)

    def renew(self, now: float, progress: bool) -> None:
        """Renew the deadline, and set the ``timeout`` of a read that begins now.

        Args:
            now: When it begins.
            progress: Whether the last one has brought a token.

        Raises:
            TimeoutError: No time is left for it.
        """
        if progress and not self._began:
            self._began = True
            if self._timeouts.token_timeout is not None:
                self._name = "token_timeout"
                self._limit = min(self._timeouts.token_timeout, MAX_WAIT_SECONDS)
        if progress or not (self._began or self.stands_still):
            self._alive_at = now
        self.timeout = min(self._limit - (now - self._alive_at), self._end - now)
        if self.timeout <= 0:
            raise TimeoutError

    def extend(self, seconds: float) -> None:
        """Leave out the time of a server's start, which has another limit."""
        self._end += seconds
        self._end_of_all += seconds
        self._alive_at += seconds

    def shorten(self, seconds: float, now: float) -> None:
        """Let the request end soon: its answer is complete."""
        self._end = min(self._end, now + seconds)
        self.timeout = min(self.timeout, seconds)

    def following(self, now: float) -> Deadline:
        """Return the deadline of another request, which ends when this one would have ended."""
        deadline = Deadline(self._timeouts, now)
        deadline._end = deadline._end_of_all = self._end_of_all
        deadline.timeout = min(deadline.timeout, self._end_of_all - now)
        return deadline

    def allows(self, pause: float, now: float) -> bool:
        """Return whether the request will have time left after a pause."""
        return now + pause < self._end

    def left(self, now: float) -> float | None:
        """Return the seconds until the end of the request, None if its total is not limited."""
        return None if self._end == math.inf else max(self._end - now, 0.0)

    def exceeded(self, now: float) -> tuple[str, float]:
        """Return the limit that a read has exceeded: the name of its argument, and its seconds."""
        total = self._timeouts.total_timeout
        # A system may wake a reader a moment too early.
        if total is not None and now > self._end - 0.01:
            return "total_timeout", total
        return self._name, self._limit
