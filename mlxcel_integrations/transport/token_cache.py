"""Cache of token counts, so that the same text is not sent twice."""

from __future__ import annotations

from ..forks import fork_safe_lock

__all__ = ["TokenCache"]


class TokenCache:
    """The most recently used counts; may be used from many threads at once.

    Args:
        limit: Roughly how many characters of text to keep.
    """

    ENTRY = 100
    """Characters that each entry counts on top of its text, so that short ones are limited, too."""

    def __init__(self, limit: int = 4_000_000) -> None:
        self._limit = limit
        self._size = 0
        self._counts: dict[tuple[str, str], int] = {}

    def get(self, kind: str, text: str) -> int | None:
        """Return a count, None if it is not known."""
        with _lock:
            count = self._counts.pop((kind, text), None)
            if count is not None:
                # A dictionary keeps the order of insertion: the last used one is at its end.
                self._counts[kind, text] = count
            return count

    def put(self, kind: str, text: str, count: int) -> None:
        """Remember a count, and forget the least recently used ones."""
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


_lock = fork_safe_lock()
