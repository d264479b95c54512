"""Budget of one validation: the steps that it may take, so that it ends soon with any schema."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .patterns import FEW_STEPS, MAX_STATES, Pattern, backtracking, compiled, states

__all__ = ["Budget", "OutOfSteps", "count_values", "current_budget", "spend"]

MIN_STEPS = 100_000
"""Steps that any validation may take: less than a second."""

STEPS_PER_VALUE = 40
"""Steps that each value, nested ones included, adds to the budget."""

MAX_STEPS = 1_000_000
"""Steps for the largest values: some seconds, far more than a plausible schema needs for them."""

MAX_COUNTED_VALUES = (MAX_STEPS - MIN_STEPS) // STEPS_PER_VALUE
"""Most values that add steps to the budget."""

PATTERN_STEPS = 20_000_000
"""Steps of the pattern engine in one validation: about half a second."""

COMPILE_STEPS = 500
"""Compiling one state of a pattern takes as long as this many steps of the engine."""

MAX_BACKTRACKING_CHARACTERS = 1000
"""Characters of a pattern that Python's engine is asked to compile, which takes milliseconds."""


class OutOfSteps(Exception):
    """A validation takes too long."""


class Budget:
    """What one validation may still spend."""

    def __init__(self, values: int) -> None:
        self._steps = min(MIN_STEPS + STEPS_PER_VALUE * values, MAX_STEPS)
        self._pattern_steps = PATTERN_STEPS
        self._patterns: dict[str, Pattern | str] = {}

    def spend(self, steps: int) -> None:
        """Take steps.

        Raises:
            OutOfSteps: Too few are left.
        """
        self._steps -= steps
        if self._steps < 0:
            raise OutOfSteps

    def pattern(self, pattern: str) -> Pattern | str:
        """Return a compiled pattern, or the reason why it is left to the server."""
        if pattern not in self._patterns:
            size = states(pattern)
            if size > MAX_STATES or not self._affords(size * COMPILE_STEPS):
                return "size limit"
            self._patterns[pattern] = compiled(pattern)
        return self._patterns[pattern]

    def found(self, pattern: str, text: str) -> bool | None:
        """Return whether a pattern is found in a text, None if that is left to the server."""
        self.spend(1)
        known = self.pattern(pattern)
        if isinstance(known, str):
            return self._found_by_backtracking(pattern, text)
        if not self._affords(known.states * len(text)):
            return None
        return known.matches(text)

    def _found_by_backtracking(self, pattern: str, text: str) -> bool | None:
        known = backtracking(pattern) if len(pattern) <= MAX_BACKTRACKING_CHARACTERS else None
        if known is None or (steps := known.steps(len(text))) > FEW_STEPS:
            return None
        return known.matches(text) if self._affords(int(steps)) else None

    def _affords(self, steps: int) -> bool:
        if steps > self._pattern_steps:
            return False
        self._pattern_steps -= steps
        return True


current_budget: ContextVar[Budget] = ContextVar("current_budget")


def spend(steps: int) -> None:
    """Take steps of the validation that is going on.

    Raises:
        OutOfSteps: Too few are left.
    """
    current_budget.get().spend(steps)


def count_values(value: Any, most: int = MAX_COUNTED_VALUES) -> int:
    """Count the values within a value, which may contain itself, up to a limit."""
    count, waiting = 0, [value]
    while waiting and count + len(waiting) < most:
        part = waiting.pop()
        count += 1
        if isinstance(part, dict | list):
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return min(count + len(waiting), most)
