"""Restart policy: whether and when a server that has ended by itself is started again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

__all__ = ["RestartPolicy"]

WINDOW_SECONDS = 300.0
"""How long a restart counts."""

MAX_INTERVAL_SECONDS = 30.0


class RestartPolicy:
    """Restarts of a server.

    The first one comes at once, since a request waits for it. The next ones are 1, 2, 4 ... 30
    seconds apart, so that a server that cannot run does not use up the machine.

    Args:
        max_restarts: How many restarts there may be within five minutes.
        clock: Monotonic time, in seconds.
        jitter: A number from 0 to 1, so that several programs do not restart at the same moment.
    """

    def __init__(
        self,
        max_restarts: int,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.max_restarts = max_restarts
        self._clock = clock
        self._jitter = jitter
        self._times: list[float] = []

    def delay(self) -> float | None:
        """Return the seconds to wait before the next restart, None if there were too many."""
        now = self._clock()
        self._times = [time for time in self._times if time > now - WINDOW_SECONDS]
        before = len(self._times)
        if before >= self.max_restarts:
            return None
        delay = 0.0
        if before:
            interval = min(2.0 ** (before - 1), MAX_INTERVAL_SECONDS) * (1 + 0.25 * self._jitter())
            delay = max(0.0, self._times[-1] + interval - now)
        self._times.append(now + delay)
        return delay
