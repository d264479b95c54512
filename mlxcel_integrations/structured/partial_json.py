"""JSON that arrives in pieces: the value so far, after each piece.

Parsing the whole text again with ``pydantic_core.from_json(..., allow_partial=...)`` was measured
against this parser, both with ``partial_objects``, for a list of records in pieces of 10
characters. Again after each piece, 20 KB take 156 ms instead of 36 ms, and 110 KB take 6.5 s
instead of 0.17 s, since time is quadratic. Again whenever the text has grown by 2 %, 110 KB take
0.07 s, but a text of 20 KB then grows in jumps of 400 characters. It would also show the beginning
of a number as a number.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..protocol.validation import parsed

__all__ = ["MAX_JSON_DEPTH", "MISSING", "IncrementalJSON", "is_deep"]

MISSING: Any = object()
"""Stands for no value yet, since None is a value."""

MAX_JSON_DEPTH = 100
"""Deepest nesting: each level takes time for each value, and later a level of recursion."""

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^"\\]*')
# Characters outside of the basic plane are escaped as pairs, and half of one is no character.
_ESCAPED = re.compile(
    r'\\(?:["\\/bfnrt]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})'
)
_BEGUN_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_BEGUN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_SCALAR = re.compile(r"[-+.0-9A-Za-z]+")


class IncrementalJSON:
    """Parse JSON that arrives in pieces.

    ``feed`` it the text; ``value`` is the value so far, and ``done`` says that it is complete.
    Strings are shown as they grow, numbers and words once they are complete.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = ""
        self._at = 0
        self._open: list[Any] = []  # containers that are not closed, from the outside in
        self._keys: list[str | None] = []  # their newest keys; None for lists
        self._text: list[str] | None = None  # parts of the string that is not closed
        self._word: list[str] = []  # parts of the number, or the word, that may go on
        self._expected = "value"
        self._root: Any = MISSING

    @property
    def value(self) -> Any:
        """The value so far, ``MISSING`` before its beginning.

        Each is a new object, but complete parts are the same objects in all of them.
        """
        inner: Any = MISSING
        if self._text is not None and not self._in_key:
            inner = "".join(self._text)
            self._text = [inner]
        for container, key in zip(reversed(self._open), reversed(self._keys), strict=True):
            outer = container.copy()
            if inner is not MISSING:
                if key is None:
                    outer.append(inner)
                else:
                    outer[key] = inner
            inner = outer
        return inner if inner is not MISSING else self._root

    def feed(self, text: str) -> bool:
        """Take the next piece and return whether it adds to the value.

        Raises:
            ValueError: It is not JSON, or nested too deeply.
        """
        self._rest += text
        position, changed = 0, False
        while True:
            if self._text is None and not self._word:
                match = _SPACE.match(self._rest, position)
                position = match.end() if match else position
            if position == len(self._rest):
                break
            after, new = self._step(position)
            changed = changed or new
            if after == position and not new:
                break
            position = after
        self._rest = self._rest[position:]
        self._at += position
        return changed

    def _step(self, position: int) -> tuple[int, bool]:
        """Read one token; return where to read on, and whether the value has changed."""
        if self._word:
            return self._scalar(position)
        return self._structure(position) if self._text is None else self._string(position)

    @property
    def _in_key(self) -> bool:
        return self._expected == "key"

    def _string(self, position: int) -> tuple[int, bool]:
        """Continue a string."""
        assert self._text is not None
        match = _PLAIN.match(self._rest, position)
        if match and match.end() > position:
            self._text.append(match[0])
            return match.end(), not self._in_key
        if self._rest[position] == '"':
            text, self._text = "".join(self._text), None
            if self._in_key:
                self._keys[-1] = text
                self._expected = "colon"
                return position + 1, False
            self._add(text)
            return position + 1, False
        if _BEGUN_PAIR.match(self._rest, position) or _BEGUN_ESCAPE.match(self._rest, position):
            return position, False
        match = _ESCAPED.match(self._rest, position)
        if not match:
            raise self._error(position, self._rest[position:])
        self._text.append(json.loads(f'"{match[0]}"'))
        return match.end(), not self._in_key

    def _structure(self, position: int) -> tuple[int, bool]:
        """Read the text between strings, and the first characters of a scalar."""
        char, expected = self._rest[position], self._expected
        if char == '"' and expected in ("value", "value or end", "key", "key or end"):
            self._text = []
            self._expected = "key" if expected.startswith("key") else "value"
            return position + 1, not self._in_key
        if char in "{[" and expected.startswith("value"):
            if len(self._open) == MAX_JSON_DEPTH:
                raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
            self._open.append({} if char == "{" else [])
            self._keys.append(None)
            self._expected = "key or end" if char == "{" else "value or end"
            return position + 1, True
        if char in "}]" and expected in ("comma", "key or end", "value or end"):
            if not self._open or isinstance(self._open[-1], dict) != (char == "}"):
                raise self._error(position, self._rest[position:])
            self._keys.pop()
            self._add(self._open.pop())
            return position + 1, False
        if char == ":" and expected == "colon":
            self._expected = "value"
            return position + 1, False
        if char == "," and expected == "comma" and self._open:
            self._expected = "key" if isinstance(self._open[-1], dict) else "value"
            return position + 1, False
        match = _SCALAR.match(self._rest, position)
        if not match or not expected.startswith("value"):
            raise self._error(position, self._rest[position:])
        self._word = [match[0]]
        return match.end(), False

    def _scalar(self, position: int) -> tuple[int, bool]:
        """Continue a number, or a word such as ``true``."""
        match = _SCALAR.match(self._rest, position)
        if match:
            self._word.append(match[0])
            return match.end(), False
        text, self._word = "".join(self._word), []
        try:
            self._add(parsed(text))
        except ValueError:
            raise self._error(position - len(text), text + self._rest[position:]) from None
        return position, True

    def _add(self, value: Any) -> None:
        """Add a complete value to its container."""
        self._expected = "comma"
        if not self._open:
            self._root, self.done, self._expected = value, True, "end"
        elif isinstance(self._open[-1], dict):
            self._open[-1][self._keys[-1]] = value
        else:
            self._open[-1].append(value)

    def _error(self, position: int, found: str) -> ValueError:
        return ValueError(f"not JSON at character {self._at + position}: {found[:20]!r}")


def is_deep(value: Any) -> bool:
    """Return whether a value is nested deeper than ``MAX_JSON_DEPTH`` levels."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        level = [
            part
            for outer in level
            if isinstance(outer, dict | list)
            for part in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
