"""Proxy buffering: detection of answers that a proxy keeps until they are complete."""

from __future__ import annotations

__all__ = ["BufferingDetector"]


class BufferingDetector:
    """Detect whether the first tokens of an answer came one by one, or late and all at once.

    No server generates thousands of tokens a second for one request. If they arrive that fast after
    a long silence, something has held them back. Only the first tokens count: later ones may have
    waited for a slow reader.

    Args:
        began: When the request was sent, in seconds; all times here are on the same clock.

    Attributes:
        buffered: Whether they came all at once, None if that is not known.
        undecided: Whether more tokens are needed to know.
    """

    SILENCE = 1.0
    TOKENS = 8
    AT_ONCE = 0.004
    ONE_BY_ONE = 0.02

    def __init__(self, began: float) -> None:
        self.buffered: bool | None = None
        self.undecided = True
        self._began = began
        self._first: float | None = None
        self._tokens = 0

    def observe(self, now: float, tokens: int) -> None:
        """Take note of tokens that were read."""
        if not self.undecided:
            return
        if self._first is None:
            self._first = now
        self._tokens += tokens
        if self._tokens < self.TOKENS:
            return
        self.undecided = False
        took = now - self._first
        if took >= self.ONE_BY_ONE:
            self.buffered = False
        elif took <= self.AT_ONCE and self._first - self._began >= self.SILENCE:
            self.buffered = True
