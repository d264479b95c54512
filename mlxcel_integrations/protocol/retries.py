"""Retries: when a request is sent again, and when to give up."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .failures import Failure

__all__ = ["Retries"]


@dataclass(slots=True)
class Retries:
    """Decide how long to wait before a request is sent again, if at all.

    Attributes:
        limit: How often a request may be sent again.
        jitter: Returns a number from 0 to 1.
        made: How often it was sent again.
    """

    FIRST: ClassVar[float] = 0.25
    DOUBLINGS: ClassVar[int] = 5
    MAX_RETRY_AFTER: ClassVar[float] = 60.0

    limit: int
    jitter: Callable[[], float] = random.random
    made: int = 0

    @property
    def coming(self) -> str:
        """The attempt that comes after the pause, such as ``"try 2 of 3"``."""
        return f"try {self.made + 1} of {self.limit + 1}"

    def delay(self, failure: Failure) -> float | None:
        """Return the seconds to wait before trying again, or None to give up."""
        pause = self.pause() if failure.retryable else None
        if pause is None or failure.retry_after is None:
            return pause
        return min(failure.retry_after, self.MAX_RETRY_AFTER)

    def pause(self) -> float | None:
        """Return the seconds to wait before another attempt, None if there may be none."""
        if self.made >= self.limit:
            return None
        pause: float = self.FIRST * 2 ** min(self.made, self.DOUBLINGS)
        self.made += 1
        return pause * (0.5 + 0.5 * self.jitter())
