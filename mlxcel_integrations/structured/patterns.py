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
from typing import Any, TypeAlias

from pydantic_core import SchemaError, SchemaValidator, core_schema

__all__ = ["FEW_STEPS", "Pattern", "backtracking", "compiled", "is_invalid", "states"]

MAX_STATES = 5000
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
        matches: Returns whether the pattern is found in a text.

    Args:
        pattern: Its text.

    Raises:
        SchemaError: The engine cannot compile it.
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
        re.error: It cannot compile it either.
    """

    def __init__(self, pattern: str) -> None:
        self._search = re.compile(pattern).search
        parsed: Any = _parser.parse(pattern)
        self._parts = list(parsed)
        first = self._parts[0] if self._parts else None
        once = first == (_constants.AT, _constants.AT_BEGINNING)
        self._anchored = once and not parsed.state.flags & re.MULTILINE

    def matches(self, text: str) -> bool | None:
        """Return whether the pattern is found in a text, None if Python's engine cannot say."""
        try:
            return self._search(text) is not None
        except SystemError:
            # Python 3.11 loses count of the groups in some possessive parts.
            return None

    def steps(self, length: int) -> float:
        """Return the most steps that a text of a length takes, infinity if they grow too fast."""
        _, steps = _sequence_work(self._parts, length + 1)
        return steps if self._anchored else steps * (length + 1)


Work: TypeAlias = tuple[float, float]
"""In how many ways a part of a pattern can match at one place of a text, and in how many steps."""

_ENDLESS: Work = math.inf, math.inf


def _sequence_work(parts: Iterable[Any], length: int) -> Work:
    """Return the work of parts in a row: each is tried once for every way to match those before."""
    ways, steps = 1.0, 0.0
    for kind, given in parts:
        part_ways, part_steps = _part_work(kind, given, length)
        steps += ways * part_steps
        ways *= part_ways
        if steps > FEW_STEPS or ways > FEW_STEPS:
            return _ENDLESS
    return ways, steps


def _part_work(kind: Any, given: Any, length: int) -> Work:
    match kind:
        case _constants.SUBPATTERN:
            return _sequence_work(given[-1], length)
        case _constants.BRANCH:
            return _branches_work(given[1], length)
        case _constants.GROUPREF_EXISTS:
            return _branches_work((given[1], given[2] or ()), length)
        case _constants.MAX_REPEAT | _constants.MIN_REPEAT:
            return _repetition_work(given, length)
        case _constants.POSSESSIVE_REPEAT:
            # It is left as it is once it has matched, as are atomic groups and look-around.
            return 1, _repetition_work(
                (given[0], given[1], [(_constants.ATOMIC_GROUP, given[2])]), length
            )[1]
        case _constants.ATOMIC_GROUP:
            return 1, _sequence_work(given, length)[1]
        case _constants.ASSERT | _constants.ASSERT_NOT:
            return 1, _sequence_work(given[1], length)[1]
        case _constants.GROUPREF:
            return 1, length
        case _constants.IN:
            return 1, len(given)
        case _constants.LITERAL | _constants.NOT_LITERAL | _constants.ANY | _constants.AT:
            return 1, 1
    return _ENDLESS  # pragma: no cover # parts that later versions of Python may have


def _branches_work(branches: Iterable[Any], length: int) -> Work:
    works = [_sequence_work(branch, length) for branch in branches]
    return sum(ways for ways, _ in works), sum(steps for _, steps in works)


def _repetition_work(given: Any, length: int) -> Work:
    least, most, inner = given
    ways, steps = _sequence_work(inner, length)
    times = min(int(most), length)
    if ways == 1:
        return max(times - int(least), 0) + 1, steps * times
    # Something that matches in several ways, over and over, takes exponential time. Further times
    # would only make the number too large for a float.
    tried = [ways**time for time in range(min(times, FEW_STEPS.bit_length()) + 1)]
    return sum(tried), steps * sum(tried)


@functools.lru_cache(CACHED_PATTERNS)
def backtracking(pattern: str) -> BacktrackingPattern | None:
    """Return a pattern for Python's engine, None if that cannot compile it."""
    if _IGNORES_CASE.search(pattern):  # it would compile a class one character at a time
        return None
    try:
        return BacktrackingPattern(pattern)
    except (re.error, RecursionError, OverflowError, ValueError):
        return None


@functools.lru_cache(CACHED_PATTERNS)
def compiled(pattern: str) -> Pattern | str:
    """Return a compiled pattern, or the reason why it cannot be compiled."""
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
    """Return whether Python cannot compile a pattern either, if Pydantic could not."""
    if isinstance(found, Pattern) or _UNKNOWN.search(found) or _IGNORES_CASE.search(pattern):
        # Without regard to case, Python compiles a class one character at a time.
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return True
    return False
