"""Token counts that are kept, so that the same text is not sent twice."""

from __future__ import annotations

import os
import threading

__all__ = ["TokenCache"]


class TokenCache:
    """The counts that were used last; may be used from many threads at once.

    Args:
        limit: How many characters of text are kept, about.
    """

    ENTRY = 100
    """Characters that an entry takes besides its text, so that many short ones are bounded too."""

    def __init__(self, limit: int = 4_000_000) -> None:
        self._limit = limit
        self._size = 0
        self._counts: dict[tuple[str, str], int] = {}

    def get(self, kind: str, text: str) -> int | None:
        """Return a count, None if it is not known."""
        with _lock:
            count = self._counts.pop((kind, text), None)
            if count is not None:
                # A dictionary keeps the order of insertion: the last used are at its end.
                self._counts[kind, text] = count
            return count

    def put(self, kind: str, text: str, count: int) -> None:
        """Remember a count, and forget those that were not used for longest."""
        size = len(text) + self.ENTRY
        if size > self._limit:
            return
        with _lock:
            if self._counts.pop((kind, text), None) is None:
                self._size += size
            self._counts[kind, text] = count
            while self._size > self._limit:
                oldest = next(iter(self._counts))
                del self._counts[oldest]
                self._size -= len(oldest[1]) + self.ENTRY


_lock = threading.Lock()


def _after_fork() -> None:
    """Make a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
