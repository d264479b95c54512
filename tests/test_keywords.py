"""Keyword arguments of the clients are the fields of the options, and are checked as such."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from pydantic import BaseModel

from mlxcel_integrations import keywords
from mlxcel_integrations.options import fields as option_fields
from mlxcel_integrations.options import names

EVERY_REQUEST = {"bounded", "model", "return_progress", "session", "user"}


@pytest.mark.parametrize(
    ("typed", "fields", "more"),
    [
        (keywords.ServerKeywords, option_fields.ServerOptions, set()),
        (keywords.SamplingKeywords, option_fields.SamplingParams, EVERY_REQUEST),
    ],
)
def test_the_keywords_are_the_options(typed: type, fields: type[BaseModel], more: set[str]) -> None:
    named, known = set(get_type_hints(typed)), set(fields.model_fields) | more

    assert known == named, f"Write the same fields into {typed.__name__} in keywords.py."


def test_every_field_of_a_request_is_known_not_to_be_a_misspelling() -> None:
    named = get_type_hints(keywords.ChatKeywords) | get_type_hints(keywords.CompletionKeywords)

    for name in named:
        names.check_field_name(name)
    assert [] == [name for name in named if names.nearest_sampling_field(name) is not None]
