"""Repetition: detection of JSON that goes on with white space, one text or digits over and over."""

from __future__ import annotations

__all__ = ["MAX_BLANK", "RepetitionDetector"]

MAX_BLANK = 256
"""Most white space in a row; indented JSON of 32 levels has half as much."""

REPEATED_IN_TEXT = 500
"""Characters of a JSON string that consist of one text over and over."""

REPEATED_ITEMS = 8000
"""The same outside of strings, where many items of a list may be equal, and each on its line."""

MAX_DIGITS = 400
"""Digits of a number in a row: the largest one that is not infinite has 309."""

MIN_REPETITIONS = 8
"""Fewest times that the text must occur."""

CHECK_INTERVAL = 128
"""Characters between two checks of the end of the answer."""

SEARCHED_ENDING = 24
"""Characters at the end whose earlier occurrences are searched."""

MAX_TRIES = 8
"""Most earlier occurrences to compare."""


class RepetitionDetector:
    """Finds out whether an answer repeats itself, in time proportional to its length.

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
        if self.blank > MAX_BLANK:
            return True
        self._tail += piece
        self._new += len(piece)
        if self._new < CHECK_INTERVAL:
            return False
        self._new = 0
        self._tail = self._tail[-2 * REPEATED_ITEMS :]
        digits = self._tail[-MAX_DIGITS:]
        if not in_string and len(digits) == MAX_DIGITS and digits.isdecimal():
            return True
        return _repeats(self._tail, REPEATED_IN_TEXT if in_string else REPEATED_ITEMS)


def _repeats(text: str, length: int) -> bool:
    """Return whether the last ``length`` characters of a text are one short text over and over."""
    longest = length // MIN_REPETITIONS
    if len(text) < length + longest:
        return False
    sample, place = text[-SEARCHED_ENDING:], len(text) - SEARCHED_ENDING
    for _ in range(MAX_TRIES):
        place = text.rfind(
            sample, len(text) - SEARCHED_ENDING - longest, place + SEARCHED_ENDING - 1
        )
        if place < 0:
            return False
        period = len(text) - SEARCHED_ENDING - place
        if text[-length:] == text[-length - period : -period]:
            return True
    return False
