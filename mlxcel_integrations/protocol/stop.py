"""Stop texts: cut an answer before the first one, on servers that do not stop there.

mlxcel up to v0.4.2 accepts ``stop`` and ignores it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

__all__ = ["StopFilter"]


class StopFilter:
    """Cut a text that arrives in pieces before the first stop text in it.

    Text that may turn out to be the beginning of a stop text is held back until that is decided.

    Args:
        stops: The stop texts; empty ones stop nothing.

    Attributes:
        stopped: Whether a stop text has come.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._held = ""
        self._stops = sorted(filter(None, stops))
        lengths = [len(stop) for stop in self._stops]
        self._shortest, self._longest = min(lengths, default=0), max(lengths, default=0)
        self._whole = _one_of(self._stops)
        self._first = _one_of({stop[0] for stop in self._stops})

    def feed(self, piece: str) -> str:
        """Take the next piece and return the text that is certain to belong to the answer."""
        text = self._held + piece
        first = self._first.search(text)
        if first is None:
            self._held = ""
            return text
        start = first.start()
        if len(text) - start >= self._shortest and self._whole.search(text, start) is not None:
            self.stopped, self._held = True, ""
            return text[: self._start_of_first(text)]
        end = self._undecided(text, start)
        self._held = text[end:]
        return text[:end]

    @property
    def held(self) -> str:
        """The text that is held back."""
        return self._held

    def close(self) -> str:
        """Return the text held back, since the answer has ended without a stop text."""
        held, self._held = self._held, ""
        return held

    def _start_of_first(self, text: str) -> int:
        """Return where the stop text begins that ends first, so that pieces make no difference."""
        found = [(text.index(stop) + len(stop), -len(stop)) for stop in self._stops if stop in text]
        return sum(min(found))

    def _undecided(self, text: str, start: int) -> int:
        """Return where an unfinished stop text at the end begins; the length if there is none."""
        stops, place = self._stops, max(start, len(text) - self._longest)
        while candidate := self._first.search(text, place):
            place = candidate.start()
            rest = text[place:]
            nearest = bisect_left(stops, rest)
            if nearest < len(stops) and stops[nearest].startswith(rest):
                return place
            place += 1
        return len(text)


def _one_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)) or "(?!)")
