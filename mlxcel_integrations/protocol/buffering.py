"""Answers that something on the way held back until they were complete."""

from __future__ import annotations

__all__ = ["BufferingDetector"]


class BufferingDetector:
    """Tell whether the first tokens of an answer came one by one, or all at once and late.

    No server generates thousands of tokens a second for one request. So if that many come after
    a long silence, they were ready before. Only the first ones are looked at: what comes later may
    have waited for a slow reader.

    Args:
        began: When the answer was asked for, in seconds, as all times here.

    Attributes:
        held_back: Whether they came at once, None if that cannot be told.
        wanted: Whether more tokens are needed to tell.
    """

    SILENCE = 1.0
    TOKENS = 8
    AT_ONCE = 0.004
    ONE_BY_ONE = 0.02

    def __init__(self, began: float) -> None:
        self.held_back: bool | None = None
        self.wanted = True
        self._began = began
        self._first: float | None = None
        self._tokens = 0

    def take(self, now: float, tokens: int) -> None:
        """Take note of tokens that have been read."""
        if not self.wanted:
            return
        if self._first is None:
            self._first = now
        self._tokens += tokens
        if self._tokens < self.TOKENS:
            return
        self.wanted = False
        took = now - self._first
        if took >= self.ONE_BY_ONE:
            self.held_back = False
        elif took <= self.AT_ONCE and self._first - self._began >= self.SILENCE:
            self.held_back = True
