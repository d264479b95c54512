"""Stop texts: cut an answer before the first one, on servers that do not stop there.

mlxcel up to v0.4.2 accepts ``stop`` and ignores it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

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
        self._stops: defaultdict[str, list[str]] = defaultdict(list)
        for stop in filter(None, stops):
            self._stops[stop[0]].append(stop)
        self._whole = _one_of([stop for group in self._stops.values() for stop in group])
        self._first = _one_of(list(self._stops))

    def feed(self, piece: str) -> str:
        """Take the next piece and return the text that is certain to belong to the answer."""
        text = self._held + piece
        first = self._first.search(text)
        if first is None:
            self._held = ""
            return text
        if self._whole.search(text, first.start()) is not None:
            self.stopped, self._held = True, ""
            return text[: self._start_of_first(text)]
        end = self._undecided(text, first.start())
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
        stops = [stop for group in self._stops.values() for stop in group if stop in text]
        return min((text.index(stop) + len(stop), text.index(stop)) for stop in stops)[1]

    def _undecided(self, text: str, start: int) -> int:
        """Return where an unfinished stop text at the end begins; the length if there is none."""
        for candidate in self._first.finditer(text, start):
            rest = text[candidate.start() :]
            if any(stop.startswith(rest) for stop in self._stops[candidate[0]]):
                return candidate.start()
        return len(text)


def _one_of(texts: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)) or "(?!)")
