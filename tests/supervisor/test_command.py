"""Command line and environment of a server, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.endpoint import Endpoint
from mlxcel_integrations.options import ServerOptions
from mlxcel_integrations.supervisor.binary import (
    EMBEDDED,
    LLAMA_SERVER,
    MLXCEL,
    MLXCEL_SERVER,
    Dialect,
    Executable,
)
from mlxcel_integrations.supervisor.command import arguments, environment

SOCKET = Endpoint.parse(None, "/run/x/server.sock")
TCP = Endpoint("http://127.0.0.1:8080")


def command(
    dialect: Dialect = MLXCEL, endpoint: Endpoint = SOCKET, model: str = "org/m", **options: Any
) -> list[str]:
    executable = Executable(("/bin/it",), dialect, "the test says so")
    return arguments(executable, model, endpoint, ServerOptions(**options))


@pytest.mark.parametrize(
    ("dialect", "words", "parallel"),
    [
        (MLXCEL, ["serve"], "--n-parallel"),
        (MLXCEL_SERVER, [], "--parallel"),
        (LLAMA_SERVER, [], "--parallel"),
        (EMBEDDED, ["serve"], "--parallel"),
    ],
)
def test_each_dialect_has_its_words(dialect: Dialect, words: list[str], parallel: str) -> None:
    assert [
        *("/bin/it", *words, "-m", "org/m", "--host", "/run/x/server.sock", "--port", "0"),
        *(parallel, "2"),
    ] == command(dialect, parallel=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"alias": "a b"}, ["--alias", "a b"]),
        ({"ctx_size": 0}, ["--ctx-size", "0"]),
        ({"n_predict": -1}, ["--n-predict", "-1"]),
        ({"chat_template": "{{ x }}"}, ["--chat-template", "{{ x }}"]),
        ({"embedding_model": "e"}, ["--embedding-model", "e"]),
        ({"reranker_model": "r"}, ["--reranker-model", "r"]),
        ({"warmup": True}, ["--warmup"]),
        ({"warmup": False}, ["--no-warmup"]),
        (
            {"extra_args": ["--metrics", "--seed", "1"], "alias": "a"},
            ["--alias", "a", "--metrics", "--seed", "1"],
        ),
        ({"startup_timeout": 1.0, "shutdown_grace": 1.0, "binary": "b"}, []),
    ],
)
def test_options_that_are_given_become_flags(options: dict[str, Any], words: list[str]) -> None:
    assert [*command(), *words] == command(**options)


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("http://127.0.0.1:8080", {}, ["--host", "127.0.0.1", "--port", "8080"]),
        ("http://[::1]:8080", {"host": "::1"}, ["--host", "::1", "--port", "8080"]),
        ("http://127.0.0.1:80", {"host": "0.0.0.0"}, ["--host", "0.0.0.0", "--port", "80"]),
        ("http://localhost:80", {"host": "localhost"}, ["--host", "localhost", "--port", "80"]),
    ],
)
def test_tcp_listens_where_the_user_says(
    url: str, options: dict[str, Any], words: list[str]
) -> None:
    assert ["/bin/it", "serve", "-m", "org/m", *words] == command(endpoint=Endpoint(url), **options)


@pytest.mark.parametrize("dialect", [LLAMA_SERVER, EMBEDDED])
@pytest.mark.parametrize("option", ["embedding_model", "reranker_model"])
def test_a_second_model_needs_mlxcel(dialect: Dialect, option: str) -> None:
    with pytest.raises(MlxcelError, match=f"{dialect.name} serves one model"):
        command(dialect, **{option: "e"})


@pytest.mark.parametrize(
    ("inherited", "api_key", "expected"),
    [
        ({"PATH": "/bin", "HF_TOKEN": "t"}, None, {"PATH": "/bin", "HF_TOKEN": "t"}),
        ({"LLAMA_ARG_PORT": "1", "LLAMA_ARG_HOST": "h", "A": "b"}, None, {"A": "b"}),
        ({"LLAMA_API_KEY": "old", "MLXCEL_API_KEY": "old"}, None, {}),
        ({"LLAMA_API_KEY": "old", "MLXCEL_API_KEY": "old"}, "new", {"LLAMA_API_KEY": "new"}),
    ],
)
def test_the_environment_is_the_users_without_settings_for_other_servers(
    inherited: dict[str, str], api_key: str | None, expected: dict[str, str]
) -> None:
    assert expected == environment(inherited, api_key)
