"""Patterns: those that match in bounded time are checked, the rest is left to the server."""

from __future__ import annotations

import math

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.structured.json_validator import JsonValidator
from mlxcel_integrations.structured.patterns import (
    Pattern,
    backtracking,
    compiled,
    is_invalid,
    states,
)
from mlxcel_integrations.structured.schema import SchemaMismatch


def fits(pattern: str, text: str) -> bool:
    try:
        JsonValidator({"pattern": pattern}).check(text)
    except SchemaMismatch:
        return False
    return True


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a*)*$", "^(a|aa)+$"])
def test_patterns_that_would_backtrack_for_ever_are_checked(pattern: str) -> None:
    assert fits(pattern, "a" * 5_000)
    assert not fits(pattern, "a" * 5_000 + "!")


@pytest.mark.parametrize(
    "pattern", ["^(?=a)(a+)+$", r"^(a+)+\1$", r"(?i)(?<!b)x", r"(?=b).*.*.*.*.*x"]
)
def test_other_patterns_are_left_to_the_server(pattern: str) -> None:
    assert fits(pattern, "a" * 40 + "!")


def test_patterns_are_left_to_the_server_where_texts_are_too_long() -> None:
    pattern = "^(?:a|b){1,900}$"

    assert not fits(pattern, "c")
    assert fits(pattern, "c" * 1_000_000)


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("^(?=a)a", "ab", "ba"),
        ("(?<!b)x", "ax", "bx"),
        (r"^(a|b)\1$", "aa", "ab"),
        (r"^(?=.*\d)(?=.*[a-z]).{8,}$", "abcdefg1" * 100, "abcdefgh" * 100),
        (r"^(?!.*--)[a-z-]+$", "a-b" * 300, "a-b" * 300 + "--"),
        (r"^(?!0)\d{1,3}(,\d{3})*$", "1,000,000", "0,000"),
        (r"\w{1000}", "a" * 1000, "a" * 999),
    ],
)
def test_patterns_that_only_python_knows_are_checked_where_it_is_quick(
    pattern: str, fitting: str, other: str
) -> None:
    assert fits(pattern, fitting)
    assert not fits(pattern, other)


@pytest.mark.parametrize(
    ("pattern", "length", "least", "most"),
    [
        ("^a", 10, 1, 2),
        ("a", 10, 11, 11),
        ("(?m)^a", 10, 11, 30),
        ("^a{3}b{3}", 10, 6, 10),
        ("^a*$", 10, 10, 30),
        ("^a*b*", 10, 100, 200),
        ("a" * 900, 1000, 900_000, 1_000_000),
        ("^(?:a|bc)*", 10, 1000, math.inf),
        ("^(?=.*a)(?=.*b)", 10, 20, 60),
        ("^a*(?=a*b)", 100, 10_000, 30_000),
        ("^(?:(?!--).)*$", 100, 200, 1000),
        (r"^(a*)\1", 100, 10_000, 30_000),
        ("^(a)?(?(1)b|c)", 10, 3, 20),
        ("^(a+)+", 40, math.inf, math.inf),
        ("^(?:a*b*)*", 1000, math.inf, math.inf),
        ("^(a)?(?(1)(a*)*|b)$", 40, math.inf, math.inf),
        ("^(a)(?(1)(?:a|a)*b)", 40, math.inf, math.inf),
        ("^(?=(a|a)*b)", 40, math.inf, math.inf),
        ("^(?=a)(?:(?=(?:a|a)*b)|a)", 40, math.inf, math.inf),
        ("^(?>(a|a)*b)", 40, math.inf, math.inf),
        ("^(?>a*)b", 40, 40, 200),
        ("^(?=a)(?:a|a)*+b", 40, 40, 200),
    ],
)
def test_the_steps_of_python_s_engine_are_estimated(
    pattern: str, length: int, least: float, most: float
) -> None:
    found = backtracking(pattern)

    assert found is not None
    assert least <= found.steps(length) <= most


def test_a_match_that_python_loses_count_of_is_left_to_the_server() -> None:
    found = backtracking("(?=a)((a)|b|c)*+")

    assert found is not None
    assert found.matches("abc") in (True, None)


def test_a_pattern_that_no_engine_knows_is_none() -> None:
    assert backtracking("(?<=a*)b") is None


@pytest.mark.parametrize("pattern", ["(", "a**{", "[", "a{99999999999999999999}", "(" * 9_000])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(MlxcelError, match="The schema is invalid at /pattern"):
        JsonValidator({"pattern": pattern})


@pytest.mark.parametrize("pattern", [r"\/", r"\d+-\w", r"\p{L}", "a{", "(?<year>x)", "^a$"])
def test_patterns_of_either_dialect_are_accepted(pattern: str) -> None:
    assert not is_invalid(pattern, compiled(pattern))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", 0),
        ("abc", 3),
        ("a{3}", 3),
        ("(ab){2,5}", 10),
        ("((a{10}){10}){10}", 1000),
        ("[a-z]{4}", 4),
        ("[]a]", 1),
        (r"\{3}", 3),
        (")", 1),
        (r"\w{2}", 100),
        (r"[^a]", 50),
        (r"\p{L}{2}", 100),
        ("(?i)a", 150),
    ],
)
def test_the_size_of_a_pattern_is_estimated(pattern: str, expected: int) -> None:
    assert expected == states(pattern)


def test_a_compiled_pattern_knows_its_states() -> None:
    found = compiled(r"\w{2}a")

    assert isinstance(found, Pattern)
    assert 3 == found.states
