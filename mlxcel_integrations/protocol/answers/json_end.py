"""End of a JSON object or array that arrives in pieces."""

from __future__ import annotations

import re

__all__ = ["JSONEnd", "is_begun"]

# Characters that change the state outside of a string, and inside one.
_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')


class JSONEnd:
    """Find the end of a JSON object or array that arrives in pieces.

    The end of any other value, such as a number, is known only when the text ends.

    Attributes:
        complete: Whether the end has come.
        endless: Whether it is another value, whose end cannot be seen.
    """

    def __init__(self) -> None:
        self.complete = False
        self._begun = False
        self.endless = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def in_string(self) -> bool:
        """Whether the text so far ends within a string."""
        return self._in_string

    def feed(self, piece: str) -> int:
        """Take the next piece and return how many of its characters belong to the value."""
        if self.complete:
            return 0
        if not self._begun and (start := piece.lstrip()):
            self._begun, self.endless = True, start[0] not in "{["
        if self.endless:
            return len(piece)
        place = 0
        while place < len(piece):
            if self._escaped:
                self._escaped = False
                place += 1
                continue
            found = (_INSIDE if self._in_string else _OUTSIDE).search(piece, place)
            if found is None:
                break
            place = found.end()
            self._take(found[0])
            if self.complete:
                return place
        return len(piece)

    def _take(self, mark: str) -> None:
        if mark == "\\":
            self._escaped = True
        elif mark == '"':
            self._in_string = not self._in_string
        elif mark in "{[":
            self._depth += 1
        else:
            self._depth -= 1
            self.complete = self._depth <= 0


def is_begun(text: str) -> bool:
    """Return whether a text is the beginning of a JSON object or array, or blank."""
    end = JSONEnd()
    end.feed(text)
    return not (end.complete or end.endless)
