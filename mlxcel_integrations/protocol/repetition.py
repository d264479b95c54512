"""Repetition: detection of JSON that has fallen into white space or into one repeated text."""

from __future__ import annotations

__all__ = ["MOST_BLANK", "RepetitionDetector"]

MOST_BLANK = 256
"""White space in a row; indented JSON of 32 levels has half of it."""

REPEATED_IN_TEXT = 500
"""Characters of a string that are one text over and over."""

REPEATED_ITEMS = 8000
"""The same outside of strings, where many items of a list may be equal, and each on its line."""

LEAST_TIMES = 8
"""How often the text must come."""

STEP = 128
"""Characters after which the end of the answer is looked at again."""

LOOKED_FOR = 24
"""Characters at the end whose earlier places are looked for."""

TRIES = 8
"""How many of these places are compared."""


class RepetitionDetector:
    """Tell whether an answer has fallen into repetition, in time proportional to its length.

    Attributes:
        blank: Characters of white space in a row at its end.
    """

    def __init__(self) -> None:
        self.blank = 0
        self._tail = ""
        self._new = 0

    def feed(self, piece: str, *, in_string: bool) -> bool:
        """Take the next piece, and return whether the answer repeats itself.

        Args:
            piece: The piece.
            in_string: Whether it ends within a JSON string.
        """
        stripped = piece.rstrip()
        self.blank = len(piece) - len(stripped) + (0 if stripped else self.blank)
        if self.blank > MOST_BLANK:
            return True
        self._tail += piece
        self._new += len(piece)
        if self._new < STEP:
            return False
        self._new = 0
        self._tail = self._tail[-2 * REPEATED_ITEMS :]
        return _repeats(self._tail, REPEATED_IN_TEXT if in_string else REPEATED_ITEMS)


def _repeats(text: str, length: int) -> bool:
    """Tell whether the end of a text is one short text over and over, in so many characters."""
    longest = length // LEAST_TIMES
    if len(text) < length + longest:
        return False
    sample, place = text[-LOOKED_FOR:], len(text) - LOOKED_FOR
    for _ in range(TRIES):
        place = text.rfind(sample, len(text) - LOOKED_FOR - longest, place + LOOKED_FOR - 1)
        if place < 0:
            return False
        period = len(text) - LOOKED_FOR - place
        if text[-length:] == text[-length - period : -period]:
            return True
    return False
