"""Proxy buffering: detection of answers that a proxy keeps until they are complete."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BufferingDetector"]

MIN_SILENCE = 1.0
MAX_BURST = 0.004
MIN_UNBUFFERED = 0.02


@dataclass(slots=True, eq=False)
class BufferingDetector:
    """Tells whether the first tokens of an answer came one by one, or late and all at once.

    No server generates thousands of tokens a second for one request. If they arrive that fast after
    a long silence, something has held them back. Only the first tokens count: later ones may have
    waited for a slow reader.

    Attributes:
        began: When the request was sent, in seconds; all times here are on the same clock.
        arrivals: When each of them was read.
        watched: Whether further tokens are noted.
    """

    WATCHED_TOKENS = 8

    began: float
    arrivals: list[float] = field(default_factory=list)
    watched: bool = True

    @property
    def were_buffered(self) -> bool | None:
        """Whether they came all at once, None if that is not known."""
        if len(self.arrivals) < self.WATCHED_TOKENS:
            return None
        first, last = self.arrivals[0], self.arrivals[self.WATCHED_TOKENS - 1]
        if last - first >= MIN_UNBUFFERED:
            return False
        return True if last - first <= MAX_BURST and first - self.began >= MIN_SILENCE else None
