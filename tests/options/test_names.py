"""Names that resemble those of options, or belong to options of other packages."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.options.names import nearest_sampling_field, server_options


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
def test_the_field_nearest_to_a_misspelled_one_is_found(name: str, expected: str | None) -> None:
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
        ({"ctxSize": 1}, "'ctxSize' is not an option. Here, use ctx_size="),
        ({"n_gpu_layers": 1}, "'n_gpu_layers' is not an option. Pass it to the program"),
        (
            {"prot": 1, "temperature": 0.5, "colour": 1, "zzz": 2},
            "^'temperature' is a sampling field: pass it with each request. 'prot' is not an "
            "option. Did you mean 'port'. 'colour' is not an option. 'zzz' is not an option. The "
            "options are binary, [^.]*.$",
        ),
        ({"parallel": 0}, "^parallel=0 must be at least 1.$"),
        ({"startup_timeout": 0}, "^startup_timeout=0 must be greater than 0.$"),
        ({"startup_timeout": "soon"}, "^startup_timeout='soon' must be a number.$"),
        ({"keep_alive": "5m"}, "^keep_alive='5m' must be in seconds: keep_alive=300.$"),
        ({"keep_alive": "soon"}, "^keep_alive='soon' must be a number.$"),
        ({"warmup": "maybe"}, "^warmup='maybe' must be True or False.$"),
        ({"share": "all"}, "^share='all' must be one of 'process', 'user' or False.$"),
        ({"alias": 3}, "^alias=3 must be a str.$"),
        ({"binary": 3}, "^binary=3 must be a str"),
        ({"extra_args": "--x"}, "^extra_args= is a single string: pass a tuple with each word"),
        ({"port": 99999}, "^port=99999 must be at most 65535.$"),
        ({"port": "x"}, "^port='x' must be a whole number.$"),
        ({"keep_prompts_mb": True}, "^keep_prompts_mb=True must be a whole number, not bool.$"),
        ({"keep_alive": True}, "^keep_alive=True must be a number, not bool.$"),
        (
            {"keep_alive": True, "parallel": False},
            "^keep_alive=True must be a number, not bool; "
            "parallel=False must be a whole number, not bool.$",
        ),
    ],
)
def test_options_that_a_server_does_not_have(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        server_options(given)


def test_true_of_numpy_is_no_number_either() -> None:
    np = pytest.importorskip("numpy")
    with pytest.raises(MlxcelError, match=r"^keep_alive=True must be a number, not bool\.$"):
        server_options({"keep_alive": np.True_})
