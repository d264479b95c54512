"""The lists of fields, and the names that are nearly in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.options import (
    ChatOptions,
    ConnectionOptions,
    SamplingParams,
    ServerOptions,
    nearest_sampling_field,
    server_options,
)
from tests.fakes.samples import SAMPLING

OPTIONS: list[type[BaseModel]] = [ConnectionOptions, ServerOptions, SamplingParams, ChatOptions]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_field_has_a_default_and_a_help_text(options: type[BaseModel]) -> None:
    options()

    assert [] == [n for n, field in options.model_fields.items() if not field.description]


def test_the_list_of_samples_is_complete() -> None:
    assert set(SamplingParams.model_fields) == set(SAMPLING)


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
def test_values_out_of_range(options: type[BaseModel], given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        options(**given)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("repetition_penality", "repetition_penalty"),
        ("temperature", None),
        ("tools", None),
        ("max_completion_tokens", None),
        ("grammar", None),
        ("mirostat", None),
    ],
)
def test_misspelled_sampling_fields(name: str, expected: str | None) -> None:
    assert expected == nearest_sampling_field(name)


def test_options_of_a_server_are_checked() -> None:
    assert ServerOptions(port=8080, parallel=2) == server_options({"port": 8080, "parallel": 2})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"context_size": 1}, "Did you mean 'ctx_size'"),
        ({"prot": 1}, "'prot' is not an option. Did you mean 'port'"),
        ({"colour": 1}, "'colour' is not an option. The options are binary"),
        ({"temperature": 0.5}, "'temperature' is a sampling field: pass it with each request"),
        ({"max_retry": 1}, "Did you mean 'max_retries'"),
        ({"num_ctx": 1}, "'num_ctx' is not an option. Here, use ctx_size="),
        ({"n_gpu_layers": 1}, "'n_gpu_layers' is not an option. Pass it to the program"),
        ({"parallel": 0}, "^parallel=0 must be at least 1.$"),
        ({"startup_timeout": 0}, "^startup_timeout=0 must be greater than 0.$"),
        ({"startup_timeout": "soon"}, "^startup_timeout='soon' must be a number.$"),
        ({"keep_alive": "5m"}, "^keep_alive='5m' must be in seconds: keep_alive=300.$"),
        ({"keep_alive": "soon"}, "^keep_alive='soon' must be a number.$"),
        ({"warmup": "maybe"}, "^warmup='maybe' must be True or False.$"),
        ({"share": "all"}, "^share='all' must be one of 'process', 'user' or False.$"),
        ({"alias": 3}, "^alias=3 must be a str.$"),
        ({"binary": 3}, "^binary=3 must be a str"),
        ({"extra_args": "--x"}, "^extra_args='--x' must be a tuple of strings.$"),
        ({"port": 99999}, "^port=99999 must be at most 65535.$"),
        ({"port": "x"}, "^port='x' must be a whole number.$"),
    ],
)
def test_options_that_a_server_does_not_have(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        server_options(given)


@pytest.mark.parametrize(
    ("path", "expected"), [("mlxcel", "./mlxcel"), ("/bin/mlxcel", "/bin/mlxcel")]
)
def test_a_path_of_a_binary_becomes_text_that_is_not_searched_for_on_path(
    path: str, expected: str
) -> None:
    """Frameworks store options as JSON, which has no paths."""
    assert expected == ServerOptions(binary=Path(path)).binary
