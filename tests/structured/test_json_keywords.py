"""Keywords that are written here: they agree with the standard, and spend the budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from mlxcel_integrations.structured.budget import MIN_STEPS, Budget, OutOfSteps, current_budget
from mlxcel_integrations.structured.json_keywords import (
    COMPARING_KEYWORDS,
    REPLACED_KEYWORDS,
    Keyword,
    check_format,
    counted,
)

VALIDATOR = jsonschema.Draft202012Validator({})


@pytest.fixture(autouse=True)
def budget() -> Iterator[Budget]:
    budget = Budget(0)
    token = current_budget.set(budget)
    yield budget
    current_budget.reset(token)


def complaints(keyword: Keyword, value: Any, instance: Any, **schema: Any) -> list[str]:
    found = keyword(VALIDATOR, value, instance, schema) or ()
    return [error.message for error in found]


@pytest.mark.parametrize(
    ("value", "instance", "fits"),
    [
        (True, [1, 2, 3], True),
        (True, [1, 1.0], False),
        (True, [1, True], True),
        (True, [0, False, "0", None], True),
        (True, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
        (True, [[1], [1.5]], True),
        (True, [[1, 2], [1, 2.0]], False),
        (True, ["1,2", "1", "2"], True),
        (True, "aa", True),
        (False, [1, 1], True),
    ],
)
def test_equal_items_are_found(value: bool, instance: Any, fits: bool) -> None:
    assert fits == (not complaints(REPLACED_KEYWORDS["uniqueItems"], value, instance))


@pytest.mark.parametrize(
    ("value", "instance", "fits"),
    [
        (3, 9, True),
        (3, 10, False),
        (0.5, 1.5, True),
        (0.5, 1.7, False),
        (0.5, 10**400, True),
        (1.5, 3 * 10**400, True),
        (1.5, 10**400, False),
        (3, True, True),
        (3, "10", True),
    ],
)
def test_multiples_are_found_however_large(value: Any, instance: Any, fits: bool) -> None:
    assert fits == (not complaints(REPLACED_KEYWORDS["multipleOf"], value, instance))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"a": {}}}, ["b1", "c"]),
        ({"properties": {"a": {}}, "patternProperties": {"^b": {}}}, ["c"]),
        # A pattern that nothing here can check may allow any name.
        ({"patternProperties": {"(": {}}}, []),
        ({}, ["a", "b1", "c"]),
    ],
)
def test_additional_properties_are_those_that_nothing_names(
    schema: dict[str, Any], expected: list[str]
) -> None:
    instance = dict.fromkeys(("a", "b1", "c"), 1)
    found = complaints(REPLACED_KEYWORDS["additionalProperties"], False, instance, **schema)

    names = ", ".join(map(repr, expected))
    told = f"Additional properties are not allowed ({names} unexpected)"
    assert [told] * bool(expected) == found


@pytest.mark.parametrize(
    ("keyword", "value", "instance", "expected"),
    [
        ("pattern", "^a", "b", ["'b' does not match '^a'"]),
        ("pattern", "^a", "ab", []),
        ("pattern", "^a", 5, []),
        ("pattern", "(", "b", []),
        ("patternProperties", {"^a": False}, {"a1": 1, "b": 1}, 1),
        ("patternProperties", {"^a": True}, {"a1": 1, "b": 1}, []),
    ],
)
def test_a_pattern_is_searched_for(
    keyword: str, value: Any, instance: Any, expected: list[str] | int
) -> None:
    found = complaints(REPLACED_KEYWORDS[keyword], value, instance)

    assert expected == (len(found) if isinstance(expected, int) else found)


@pytest.mark.parametrize(
    ("format_", "instance", "expected"),
    [
        ("date", "2024-02-30", ["'2024-02-30' is not a date"]),
        ("date", "2024-02-29", []),
        ("date", 5, []),
        ("unheard-of", "anything", []),
    ],
)
def test_a_format_is_checked(format_: str, instance: Any, expected: list[str]) -> None:
    assert expected == complaints(check_format, format_, instance)


@pytest.mark.parametrize(
    ("keyword", "value", "instance", "fits"),
    [
        ("enum", ["a", "b"], "b", True),
        ("enum", ["a", "b"], "c", False),
        ("enum", [1, [2]], [2.0], True),
        ("const", {"a": 1}, {"a": 1.0}, True),
        ("const", 1, True, False),
    ],
)
def test_values_are_compared(keyword: str, value: Any, instance: Any, fits: bool) -> None:
    assert fits == (not complaints(COMPARING_KEYWORDS[keyword], value, instance))


@pytest.mark.parametrize(
    ("keyword", "value", "instance"),
    [
        (REPLACED_KEYWORDS["uniqueItems"], True, [0] * (MIN_STEPS + 1)),
        (COMPARING_KEYWORDS["const"], [0] * 2 * MIN_STEPS, 1),
        (check_format, "date", "x" * 256 * MIN_STEPS),
        (counted(lambda *_: None), {}, [0] * 16 * MIN_STEPS),
    ],
    ids=["uniqueItems", "const", "format", "any"],
)
def test_what_is_large_uses_the_budget_up(keyword: Keyword, value: Any, instance: Any) -> None:
    with pytest.raises(OutOfSteps):
        complaints(keyword, value, instance)
