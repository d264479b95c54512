"""Retries: when a request is sent again, and when to give up."""

from __future__ import annotations

import random
from collections.abc import Callable

from .failures import Failure

__all__ = ["Retries"]


class Retries:
    """Decide how long to wait before a request is sent again, if at all.

    Args:
        limit: How often a request may be sent again.
        jitter: Returns a number from 0 to 1.
    """

    FIRST, LONGEST, LONGEST_RETRY_AFTER = 0.25, 8.0, 60.0

    def __init__(self, limit: int, jitter: Callable[[], float] = random.random) -> None:
        self._limit = self._left = limit
        self._pause = self.FIRST
        self._jitter = jitter

    @property
    def coming(self) -> str:
        """The attempt that comes after the pause, such as ``"try 2 of 3"``."""
        return f"try {self._limit - self._left + 1} of {self._limit + 1}"

    def delay(self, failure: Failure) -> float | None:
        """Return the seconds to wait before trying again, or None to give up."""
        pause = self.pause() if failure.retryable else None
        if pause is None or failure.retry_after is None:
            return pause
        return min(failure.retry_after, self.LONGEST_RETRY_AFTER)

    def pause(self) -> float | None:
        """Return the seconds to wait before another attempt, None if there may be none."""
        if self._left <= 0:
            return None
        self._left -= 1
        pause, self._pause = self._pause, min(self._pause * 2, self.LONGEST)
        return pause * (0.5 + 0.5 * self._jitter())
