"""Types and ranges of arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.arguments import (
    as_path,
    as_seconds,
    as_strings,
    as_token_ids,
    as_whole,
    check_mapping,
    check_text,
    check_unnamed,
    number,
    plain,
    shown,
    whole,
)

np = pytest.importorskip("numpy")


def at_least_one(value: Any) -> int:
    return as_whole("x", value, least=1)


def seconds(value: Any) -> float | None:
    return as_seconds("x", value)


def path(value: Any) -> str | None:
    return as_path("x", value)


def strings(value: Any) -> list[str]:
    return as_strings("x", value)


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        (at_least_one, 1, 1),
        (at_least_one, np.int64(2), 2),
        (at_least_one, np.array(3), 3),
        (seconds, None, None),
        (seconds, 5, 5.0),
        (seconds, np.float32(0.5), 0.5),
        (seconds, Fraction(1, 2), 0.5),
        (seconds, math.inf, math.inf),
        (path, None, None),
        (path, "a", "a"),
        (path, Path("a"), "a"),
        (strings, ["a"], ["a"]),
        (strings, {"a": 1}.keys(), ["a"]),
        (strings, [], []),
        (as_token_ids, (1, np.int32(2)), [1, 2]),
        (as_token_ids, np.array([1, 2]), [1, 2]),
        (whole, 2.0, None),
        (whole, "2", None),
        (whole, True, None),
        (number, False, None),
        (number, np.True_, None),
        (number, Decimal("0.5"), 0.5),
        (number, "0.5", None),
        (number, math.nan, None),
        (number, 10**400, None),
        (number, None, None),
        (plain, np.float32(0.5), 0.5),
        (plain, "a", "a"),
        (shown, "a" * 100, "'" + "a" * 56 + "..."),
    ],
)
def test_values_that_are_right_are_taken(
    check: Callable[[Any], Any], value: Any, expected: Any
) -> None:
    found = check(value)

    assert expected == found
    assert type(found) is type(expected)


def test_strings_may_come_one_after_the_other() -> None:
    assert ["a", "b"] == strings(iter("ab"))


def test_an_array_is_not_a_number() -> None:
    array = np.array([1, 2])

    assert plain(array) is array
    assert number(array) is None


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (at_least_one, 0, "^x=0 must be at least 1.$"),
        (at_least_one, "5", "^x='5' must be a whole number, not str.$"),
        (at_least_one, 1.5, "^x=1.5 must be a whole number, not float.$"),
        (at_least_one, None, "^x=None must be a whole number, not NoneType.$"),
        (seconds, "5", "^x='5' is not a positive number of seconds: pass one, or omit it.$"),
        (seconds, 0, "^x=0 is not a positive number of seconds"),
        (seconds, math.nan, "^x=nan is not"),
        (path, 3, "^x=3 must be a str or a path, not int.$"),
        (path, b"a", "^x=b'a' must be a str or a path, not bytes.$"),
        (strings, "ab", "^x= is a single string: pass a list of strings.$"),
        (strings, 3, "^x= must be a list of strings, not int.$"),
        (strings, None, "^x= must be a list of strings, not NoneType.$"),
        (strings, b"ab", "^x= must be a list of strings, not bytes.$"),
        (strings, {"a": 1}, "^x= must be a list of strings, not dict.$"),
        (
            strings,
            Literal["a", "b"],
            r"^x= is the type typing.Literal\['a', 'b'\]: pass a list of strings.$",
        ),
        (strings, Enum("Label", "a b"), "^x= is the type <enum 'Label'>: pass a list of strings.$"),
        (strings, ["a", None], r"^x\[1\] is NoneType, not a string.$"),
        (
            as_token_ids,
            "12",
            r"^tokens='12' must be a list of token ids \(whole numbers from 0\).$",
        ),
        (as_token_ids, [1, "2"], "^tokens="),
        (as_token_ids, [1, -2], "^tokens="),
        (as_token_ids, 3, "^tokens=3 must be"),
        (lambda value: check_text("x", value), 3, "^x=3 must be a str, not int.$"),
        (lambda value: check_text("x", value), None, "^x=None must be a str, not NoneType.$"),
        (
            lambda value: check_mapping("x", value, '{"a": 1}'),
            ["key"],
            '^x= must be a dictionary such as {"a": 1}, not list.$',
        ),
    ],
)
def test_values_that_are_wrong_are_refused(
    check: Callable[[Any], Any], value: Any, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        check(value)


def test_dictionaries_and_none_pass() -> None:
    check_mapping("x", None, "{}")
    check_mapping("x", {"a": 1}, "{}")
    check_text("x", "")


def test_a_second_argument_without_a_name_is_not_shown_since_it_may_be_a_key() -> None:
    check_unnamed((), "LLM")

    told = "LLM takes one argument without a name, the model. Name the others:"
    with pytest.raises(MlxcelError, match=re.escape(told)) as raised:
        check_unnamed(("sk-secret",), "LLM")
    assert "sk-secret" not in str(raised.value)
