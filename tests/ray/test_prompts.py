"""Prompts are filled with the columns of a row, and their mistakes are errors of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.ray.prompts import Template, messages_for


def test_a_template_names_each_column_once_and_takes_formats() -> None:
    template = Template("{text!r} of {user[name]} and {text}: {{}} {score:.1f}")

    assert ["text", "user", "score"] == template.columns
    row = {"text": "a", "user": {"name": "Ann"}, "score": 0.25}
    assert "'a' of Ann and a: {} 0.2" == template(row)


@pytest.mark.parametrize("text", ["{text", "text}", "{}", "{0}{}", "{.name}"])
def test_a_template_that_cannot_be_filled_is_refused(text: str) -> None:
    with pytest.raises(MlxcelError, match="literal braces"):
        Template(text)


def test_a_null_is_named_by_its_column() -> None:
    with pytest.raises(MlxcelError, match="The column 'text' is null in this row"):
        messages_for({"id": 1, "text": None}, Template("{id} {text}"))


def test_messages_are_passed_on() -> None:
    messages = [{"role": "user", "content": "Hi"}]

    assert messages == messages_for({}, lambda row: messages)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (lambda row: row["none"], "failed for this row: KeyError: 'none'"),
        (lambda row: " \n", "is empty"),
        (lambda row: [], "is empty"),
    ],
)
def test_a_prompt_that_fails_or_is_empty_is_an_error(
    prompt: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        messages_for({}, prompt)
