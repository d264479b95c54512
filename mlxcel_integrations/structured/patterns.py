"""Patterns of JSON schemas, matched in bounded time.

Python's own engine may try 2 to the power of a text's length ways to match, and lets no other
thread run meanwhile. Pydantic's takes at most one step for each state of the pattern and character
of the text. What it does not know, such as look-around, is matched by Python's if the form of the
pattern shows that this takes few steps, and left to the server otherwise.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from re import _constants, _parser  # type: ignore[attr-defined] # not in typeshed
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

__all__ = ["FEW_STEPS", "Pattern", "backtracking", "compiled", "is_invalid", "states"]

MOST_STATES = 5000
"""Size of the largest pattern that is compiled, which takes a third of a second at most."""

CLASS_STATES = 50
"""States of a class such as ``\\w``, which stands for hundreds of ranges of characters."""

FEW_STEPS = 5_000_000
"""Steps of Python's engine, which other threads wait for: a twentieth of a second."""

CACHED_PATTERNS = 256

_TOKEN = re.compile(
    r"(?P<wide>\\[pP](?:\{[^}]*\}|.)|\\[wWdDsS]|\.)|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])|\\."
    r"|(?P<repeated>\{(?P<least>\d{1,6})(?:,(?P<most>\d{0,6}))?\})|.",
    re.DOTALL,
)
_UNKNOWN = re.compile(r"look-around|backreferences|size limit")
_IGNORES_CASE = re.compile(r"\(\?[a-zA-Z]*i")


class Pattern:
    """A compiled pattern.

    Attributes:
        states: How many steps each character of a text takes at most.
        matches: Tells whether the pattern is found in a text.

    Args:
        pattern: Its text.

    Raises:
        SchemaError: The engine does not know it.
    """

    def __init__(self, pattern: str) -> None:
        self.states = states(pattern, 1)
        schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
        self.matches: Callable[[str], bool] = SchemaValidator(schema).isinstance_python


class BacktrackingPattern:
    """A pattern that only Python's engine knows.

    Args:
        pattern: Its text.

    Raises:
        re.error: It does not know it either.
    """

    def __init__(self, pattern: str) -> None:
        self.matches: Callable[[str], object] = re.compile(pattern).search
        parsed: Any = _parser.parse(pattern)
        self._parts = list(parsed)
        first = self._parts[0] if self._parts else None
        self._anchored = first == (_constants.AT, _constants.AT_BEGINNING)

    def steps(self, length: int) -> float:
        """Return the most steps that a text of a length takes, infinity if they grow too fast."""
        steps = _backtracking_steps(self._parts, length + 1)
        return steps if self._anchored else steps * (length + 1)


def _backtracking_steps(parts: Iterable[Any], length: int) -> float:
    """Return the steps that a sequence takes at one place of a text.

    Repetitions in a row multiply, since each may give back what it has taken. Look-around does not:
    it is left as it is once it has matched.
    """
    ways, looked = 1.0, 0.0
    for kind, given in parts:
        if kind in (_constants.ASSERT, _constants.ASSERT_NOT):
            looked += _backtracking_steps(given[1], length)
        elif kind is _constants.SUBPATTERN:
            ways *= _backtracking_steps(given[-1], length)
        elif kind is _constants.BRANCH:
            ways *= sum(_backtracking_steps(branch, length) for branch in given[1])
        elif kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            _, most, inner = given
            once = _backtracking_steps(inner, length)
            times = min(int(most), length)
            # Something that matches in several ways, over and over, takes exponential time. Further
            # times would only make the number too large for a float.
            ways *= times + 1 if once == 1 else once ** min(times, FEW_STEPS.bit_length())
        if ways > FEW_STEPS:
            return math.inf
    return ways + looked


@functools.lru_cache(CACHED_PATTERNS)
def backtracking(pattern: str) -> BacktrackingPattern | None:
    """Return a pattern for Python's engine, None if it does not know it."""
    if _IGNORES_CASE.search(pattern):  # it would compile a class one character at a time
        return None
    try:
        return BacktrackingPattern(pattern)
    except (re.error, RecursionError, OverflowError, ValueError):
        return None


@functools.lru_cache(CACHED_PATTERNS)
def compiled(pattern: str) -> Pattern | str:
    """Return a compiled pattern, or the reason why there is none."""
    try:
        return Pattern(pattern)
    except (SchemaError, ValueError) as error:  # ValueError: half of a surrogate pair
        return str(error)


def states(pattern: str, class_states: int = CLASS_STATES) -> int:
    """Estimate the number of states of a pattern.

    Args:
        pattern: The pattern.
        class_states: How many states a class of characters counts.
    """
    groups, last = [0], 0
    ignores_case = _IGNORES_CASE.search(pattern)
    for token in _TOKEN.finditer(pattern):
        if token["repeated"]:
            times = max(int(token["least"]), int(token["most"] or 0), 1)
            groups[-1] += last * (times - 1)
            last *= times
        elif token[0] == "(":
            groups.append(0)
        elif token[0] == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        else:
            wide = token["wide"] or (token["set"] and re.search(r"\\[wWdDsSpP]|\[\^", token[0]))
            last = class_states if wide or ignores_case else 1
            groups[-1] += last
    return sum(groups)


def is_invalid(pattern: str, found: Pattern | str) -> bool:
    """Tell whether a pattern is none in Python either, if Pydantic could not compile it."""
    if isinstance(found, Pattern) or _UNKNOWN.search(found) or _IGNORES_CASE.search(pattern):
        # Without regard to case, Python compiles a class one character at a time.
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return True
    return False
