"""Whether a server that has ended by itself is started again, and when: pure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

__all__ = ["Restarts"]

WINDOW = 300.0
"""For how long a restart counts, in seconds."""

LONGEST_DELAY = 30.0


class Restarts:
    """The restarts of a server.

    The first one comes at once, since a request waits for it. The next ones keep a distance of 1,
    2, 4 ... 30 seconds, so that a server that cannot live does not take all of the machine.

    Args:
        most: How many there may be within five minutes.
        clock: Monotonic time, in seconds.
        chance: A number from 0 to 1: several programs must not restart all at the same moment.
    """

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.most = most
        self._clock = clock
        self._chance = chance
        self._times: list[float] = []

    def delay(self) -> float | None:
        """Return the seconds to wait before the next restart, None if there were too many."""
        now = self._clock()
        self._times = [time for time in self._times if time > now - WINDOW]
        before = len(self._times)
        if before >= self.most:
            return None
        delay = 0.0
        if before:
            distance = min(2.0 ** (before - 1), LONGEST_DELAY) * (1 + 0.25 * self._chance())
            delay = max(0.0, self._times[-1] + distance - now)
        self._times.append(now + delay)
        return delay
