"""Budget of a validation: it ends in time, however large the value and whatever the pattern."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.structured.budget import (
    MAX_STEPS,
    MIN_STEPS,
    STEPS_PER_VALUE,
    Budget,
    OutOfSteps,
    count_values,
)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        (0, MIN_STEPS),
        (10, MIN_STEPS + 10 * STEPS_PER_VALUE),
        (10**9, MAX_STEPS),
    ],
)
def test_the_steps_grow_with_the_values_up_to_a_limit(values: int, steps: int) -> None:
    budget = Budget(values)
    budget.spend(steps)

    with pytest.raises(OutOfSteps):
        budget.spend(1)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("^a+$", "aaa", True),
        ("^a+$", "aab", False),
        ("b", "aab", True),
        # Python's engine decides what the other one does not know, if that takes few steps.
        ("^(?=a)a", "ab", True),
        ("^(?=a)a", "b", False),
        (r"^(a)\1$", "aa", True),
        ("a{6000}", "a", False),
    ],
)
def test_a_pattern_is_found_or_not(pattern: str, text: str, expected: bool) -> None:
    assert expected is Budget(0).found(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^(a|aa)+\1$", "a" * 100),  # exponential in Python's engine
        ("(?=a)" + "a" * 1000, "a"),  # too long for it
        ("(a{1,99}){99}b", "a" * 100),  # too many states, and exponential
        ("(", "a"),  # not a pattern
    ],
)
def test_a_pattern_that_would_take_too_long_is_left_to_the_server(pattern: str, text: str) -> None:
    assert Budget(0).found(pattern, text) is None


def test_patterns_share_one_budget() -> None:
    budget, text = Budget(0), "a" * 1_000_000
    found = [budget.found("^[ab]{1,9}c", text) for _ in range(20)]

    assert found[0] is False
    assert found[-1] is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1), ([], 1), ([1, [2, 3]], 5), ({"a": {"b": 1}, "c": [1]}, 5), ("text", 1)],
)
def test_nested_values_are_counted(value: Any, expected: int) -> None:
    assert expected == count_values(value)
