"""Stop texts: cut an answer before the first one, on servers that do not stop there.

mlxcel up to v0.4.2 accepts ``stop`` and ignores it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

__all__ = ["StopFilter"]

BEGINNING = 6
"""Characters of the beginning of a stop text that is searched for first: little else has it."""

MAX_REMEMBERED = 256
"""Most characters for which a state remembers that no stop text begins with them."""


class StopFilter:
    """Cut a text that arrives in pieces before the first stop text in it.

    Text that may turn out to be the beginning of a stop text is held back until that is decided.

    Args:
        stops: The stop texts; empty texts are ignored.

    Attributes:
        stopped: Whether a stop text has come.
    """

    __slots__ = ("_find_beginning", "_start", "_state", "stopped")

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._find_beginning, self._start = _automaton(tuple(sorted(filter(None, stops))))
        self._state = self._start

    def feed(self, piece: str) -> str:
        """Take the next piece and return the text that is certain to belong to the answer."""
        # In one function, since it runs for each token.
        state = self._state
        held = state.held
        if not held and self._find_beginning(piece) is None:
            return piece
        for length, character in enumerate(piece, 1):
            state = state[character]
            if state.stop_length:
                self.stopped, self._state = True, self._start
                return (held + piece[:length])[: -state.stop_length]
        self._state = state
        text = held + piece
        return text[: len(text) - len(state.held)]

    @property
    def held(self) -> str:
        """The text that is held back."""
        return self._state.held

    def close(self) -> str:
        """Return the text held back, since the answer has ended without a stop text."""
        held, self._state = self.held, self._start
        return held


class _State(dict[str, "_State"]):
    """State of an Aho-Corasick automaton, with the state that follows each character.

    These are found when a character first comes, since few of them do.

    Args:
        held: The longest end of a text that is the beginning of a stop text.
        shorter: The state of the next shorter such end, None for the state without any.
        stops: The stop texts, sorted.

    Attributes:
        stop_length: Length of the longest stop text at the end of the text, 0 without one.
    """

    __slots__ = ("_shorter", "_stops", "held", "stop_length")

    def __init__(self, held: str, shorter: _State | None, stops: Sequence[str]) -> None:
        self.held, self._shorter, self._stops = held, shorter, stops
        self.stop_length: int = 0 if shorter is None else shorter.stop_length
        if held and stops[bisect_left(stops, held)] == held:
            self.stop_length = len(held)

    def __missing__(self, character: str) -> _State:
        unknown = [self]
        while (shorter := unknown[-1]._shorter) is not None and character not in shorter:
            unknown.append(shorter)
        # Without a shorter end, nothing is held back.
        following = unknown[-1] if shorter is None else shorter[character]
        for state in reversed(unknown):
            if state._begins(character):
                following = _State(state.held + character, following, self._stops)
            if following.held or len(state) < MAX_REMEMBERED:
                state[character] = following
        return following

    def _begins(self, character: str) -> bool:
        """Return whether a stop text begins with the text held back and a character."""
        beginning = self.held + character
        nearest = bisect_left(self._stops, beginning)
        return nearest < len(self._stops) and self._stops[nearest].startswith(beginning)


@lru_cache(maxsize=32)
def _automaton(stops: tuple[str, ...]) -> tuple[Callable[[str], object], _State]:
    """Return a search for how sorted stop texts begin, and the first state of their automaton."""
    pattern = "|".join(_beginnings(stops)) or "(?!)"
    return re.compile(pattern).search, _State("", None, stops)


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
