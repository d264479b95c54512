"""The lists of fields: complete, apart, and with defaults and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from mlxcel_integrations.options.fields import (
    ChatOptions,
    ConnectionOptions,
    SamplingParams,
    ServerOptions,
)
from tests.fakes.samples import SAMPLING

OPTIONS: list[type[BaseModel]] = [ConnectionOptions, ServerOptions, SamplingParams, ChatOptions]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_field_has_a_default_and_a_help_text(options: type[BaseModel]) -> None:
    options()

    assert [] == [n for n, field in options.model_fields.items() if not field.description]


def test_the_list_of_samples_is_complete() -> None:
    assert set(SamplingParams.model_fields) == set(SAMPLING), "Add it to tests/fakes/samples.py."


def test_no_field_is_in_two_lists() -> None:
    names = [name for options in OPTIONS for name in options.model_fields]

    assert sorted(set(names)) == sorted(names)


def test_sampling_is_left_to_the_server_by_default() -> None:
    assert {None} == set(SamplingParams().model_dump().values())


def test_a_key_is_not_shown() -> None:
    assert "hunter2" not in repr(ConnectionOptions(api_key=SecretStr("hunter2")))


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (ConnectionOptions, {"timeout": 0}),
        (ConnectionOptions, {"max_retries": -1}),
        (ServerOptions, {"port": 0}),
        (ServerOptions, {"port": 65536}),
        (ServerOptions, {"parallel": 0}),
        (ServerOptions, {"ctx_size": -1}),
        (ServerOptions, {"startup_timeout": 0}),
        (SamplingParams, {"max_tokens": -1}),
        (SamplingParams, {"thinking_budget_tokens": -2}),
        (SamplingParams, {"temperature": -0.1}),
    ],
)
def test_values_out_of_range_are_refused(options: type[BaseModel], given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        options(**given)


@pytest.mark.parametrize(
    ("path", "expected"), [("mlxcel", "./mlxcel"), ("/bin/mlxcel", "/bin/mlxcel")]
)
def test_a_path_of_a_binary_becomes_text_that_is_not_searched_for_on_path(
    path: str, expected: str
) -> None:
    """Frameworks store options as JSON, which has no paths."""
    assert expected == ServerOptions(binary=Path(path)).binary
