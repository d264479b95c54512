"""Values of an adapter's options, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.adapters.generation import ChatAdapter
from mlxcel_integrations.adapters.option_values import checked_value


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [
        ("temperature", 1, 1.0),
        ("max_tokens", 8.0, 8),
        ("stop", ["\n"], ["\n"]),
        ("a_field_of_the_framework", "as it is", "as it is"),
    ],
)
def test_a_value_is_stored_as_the_constructor_stores_it(name: str, given: Any, stored: Any) -> None:
    value = checked_value(name, given)

    assert (type(stored), stored) == (type(value), value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "hot"}, "temperature='hot' must be a number."),
        (
            {"temperature": "hot", "max_tokens": "few"},
            "temperature='hot' must be a number; max_tokens='few' must be a whole number.",
        ),
        (
            {"temperature": True, "max_tokens": False},
            "temperature=True must be a number, not bool; "
            "max_tokens=False must be a whole number, not bool.",
        ),
    ],
)
@pytest.mark.parametrize("kind", [MlxcelError, ValueError])
def test_all_values_that_cannot_be_are_refused_in_one_message(
    options: dict[str, Any], message: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as raised:
        ChatAdapter(base_url="http://localhost:1", **options)

    assert message == str(raised.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [("hot", "temperature='hot' must be a number."), (True, "temperature=True must be a number, ")],
)
def test_a_value_that_is_set_later_is_refused_in_the_same_words(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        checked_value("temperature", value)
