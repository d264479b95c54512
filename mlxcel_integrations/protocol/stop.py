"""Stop texts: cut an answer before the first one, on servers that do not stop there.

mlxcel up to v0.4.2 accepts ``stop`` and ignores it.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

__all__ = ["StopFilter"]

BEGINNING = 6
"""Characters of the beginning of a stop text that is searched for first: little else has it."""


class StopFilter:
    """Cut a text that arrives in pieces before the first stop text in it.

    Text that may turn out to be the beginning of a stop text is held back until that is decided.

    Args:
        stops: The stop texts; empty ones stop nothing.

    Attributes:
        stopped: Whether a stop text has come.
    """

    __slots__ = (
        "_find_beginning",
        "_find_whole",
        "_held",
        "_longest",
        "_shortest",
        "_stops",
        "stopped",
    )

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._held = ""
        self._stops = sorted(filter(None, stops))
        lengths = [len(stop) for stop in self._stops]
        self._shortest, self._longest = min(lengths, default=0), max(lengths, default=0)
        self._find_whole = _one_of(map(re.escape, self._stops)).search
        self._find_beginning = _one_of(_beginnings(self._stops)).search

    def feed(self, piece: str) -> str:
        """Take the next piece and return the text that is certain to belong to the answer."""
        # In one function, since it runs for each token.
        text = self._held + piece
        begun = self._find_beginning(text)
        if begun is None:
            self._held = ""
            return text
        place, stops = begun.start(), self._stops
        left = len(text) - place
        if left >= self._shortest:
            if self._find_whole(text, place) is not None:
                self.stopped, self._held = True, ""
                return text[: self._start_of_first(text)]
            if left >= self._longest:
                begun = self._find_beginning(text, len(text) - self._longest + 1)
        while begun is not None:
            place = begun.start()
            rest = text[place:]
            nearest = bisect(stops, rest)
            if nearest < len(stops) and stops[nearest].startswith(rest):
                self._held = rest
                return text[:place]
            begun = self._find_beginning(text, place + 1)
        self._held = ""
        return text

    @property
    def held(self) -> str:
        """The text that is held back."""
        return self._held

    def close(self) -> str:
        """Return the text held back, since the answer has ended without a stop text."""
        held, self._held = self._held, ""
        return held

    def _start_of_first(self, text: str) -> int:
        """Return the start of the stop text that ends first, which is the same for any pieces."""
        found = [(text.index(stop) + len(stop), -len(stop)) for stop in self._stops if stop in text]
        return sum(min(found))


def _one_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or "(?!)")


def _beginnings(stops: Sequence[str], place: int = 0) -> Iterator[str]:
    """Yield patterns of the beginnings of sorted stop texts that are equal up to a place.

    The rest of a beginning may be yet to come.
    """
    for character, group in groupby(stops, itemgetter(place)):
        alike = list(group)
        pattern = re.escape(character)
        if place + 1 not in (BEGINNING, len(alike[0])):
            pattern += rf"(?:{'|'.join(_beginnings(alike, place + 1))}|\Z)"
        yield pattern
