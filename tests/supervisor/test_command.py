"""Command line and environment of a server, as tables and as they arrive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM, MlxcelError, MlxcelServerError
from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.secret import Secret
from mlxcel_integrations.supervisor.binary import (
    EMBEDDED,
    LLAMA_SERVER,
    MLXCEL,
    MLXCEL_SERVER,
    Dialect,
    Executable,
)
from mlxcel_integrations.supervisor.command import environment, serve_command
from mlxcel_integrations.supervisor.guard import DIRECTORY_VARIABLE
from mlxcel_integrations.transport.endpoint import Endpoint

from .conftest import Fake

SOCKET = Endpoint.parse(None, "/run/x/server.sock")
TCP = Endpoint("http://127.0.0.1:8080")


QUEUE = ("--max-batch-prefill", "1", "--max-queue-depth", "1000")
QUEUEING = {MLXCEL: QUEUE, MLXCEL_SERVER: QUEUE, LLAMA_SERVER: (), EMBEDDED: ()}


def command(
    dialect: Dialect = MLXCEL, endpoint: Endpoint = SOCKET, model: str = "org/m", **options: Any
) -> list[str]:
    executable = Executable(("/bin/it",), dialect, "the test says so")
    return serve_command(executable, model, endpoint, ServerOptions(**options))


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
        *("/bin/it", *words, "--model", "org/m", "--host", "/run/x/server.sock", "--port", "0"),
        *QUEUEING[dialect],
        *(parallel, "2"),
    ] == command(dialect, parallel=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"alias": "a b"}, ["--alias", "a b"]),
        ({"ctx_size": 0}, ["--ctx-size", "0"]),
        ({"n_predict": -1}, ["--n-predict=-1"]),
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
    assert ["/bin/it", "serve", "--model", "org/m", *words, *QUEUEING[MLXCEL]] == command(
        endpoint=Endpoint(url), **options
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--max-batch-prefill", "2"], ["--max-queue-depth", "1000"]),
        (["--max-queue-depth=9", "--max-batch-prefill=2"], []),
    ],
)
def test_how_mlxcel_queues_is_left_to_the_user_who_sets_it(
    given: list[str], expected: list[str]
) -> None:
    words = command(extra_args=given)

    assert [*expected, *given] == words[8:]


@pytest.mark.parametrize("dialect", [LLAMA_SERVER, EMBEDDED])
@pytest.mark.parametrize("option", ["embedding_model", "reranker_model"])
def test_a_second_model_needs_mlxcel(dialect: Dialect, option: str) -> None:
    with pytest.raises(MlxcelError, match=f"{dialect.name} serves one model"):
        command(dialect, **{option: "e"})


@pytest.mark.parametrize("dialect", [LLAMA_SERVER, EMBEDDED])
def test_tokens_are_guessed_ahead_by_a_flag(dialect: Dialect) -> None:
    words = command(dialect, spec_type="ngram-simple")

    assert ["--spec-type", "ngram-simple"] == words[-2:]


@pytest.mark.parametrize("dialect", [MLXCEL, MLXCEL_SERVER])
def test_mlxcel_guesses_only_with_a_second_model(dialect: Dialect) -> None:
    with pytest.raises(MlxcelError, match=f"{dialect.name} guesses with a second model"):
        command(dialect, spec_type="ngram-simple")


# What a shell, a parser of flags or a locale could take for something else.
NAMES = [
    "a b",
    'it\'s "quoted" $HOME `x` \\',
    "two\nlines",
    "모델-ü-🦙",
    "not-utf-8-\udcff",
    "--help",
    "-1",
    "-m=x",
    "",
]


@pytest.mark.parametrize("dialect", [MLXCEL, MLXCEL_SERVER, EMBEDDED])
def test_a_value_that_begins_with_a_dash_stays_a_value(dialect: Dialect) -> None:
    words = command(dialect, model="-x", alias="--y", n_predict=-1, chat_template="-")

    assert ["--model=-x", "--alias=--y", "--n-predict=-1", "--chat-template=-"] == [
        word for word in words if "=" in word
    ]
    assert not {"-x", "--y", "-1", "-"} & set(words)


def test_llama_server_knows_no_equals_sign_and_needs_none() -> None:
    words = command(LLAMA_SERVER, model="-x", n_predict=-1)

    assert ["--model", "-x"] == words[1:3]
    assert ["--n-predict", "-1"] == words[-2:]


@pytest.mark.parametrize("name", ["a\0b", "half-\ud83e"])
@pytest.mark.parametrize("option", ["model", "alias", "chat_template"])
def test_what_no_command_line_can_hold_is_refused(option: str, name: str) -> None:
    with pytest.raises(MlxcelError, match=r"cannot be passed to a server.*Remove it"):
        command(**{option: name})


def received(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\0")[:-1]


@pytest.mark.parametrize("name", NAMES)
def test_names_arrive_byte_for_byte(fake: Fake, name: str, tmp_path: Path) -> None:
    binary = fake.script(f"printf '%s\\0' \"$@\" > {tmp_path}/argv; exit 3")
    server = fake.server(binary, model=f"{name}:m", alias=name, chat_template=name)

    with pytest.raises(MlxcelServerError, match="exit status 3"):
        server.start()

    words = b"\0".join(received(tmp_path / "argv"))
    between = b"=" if name.startswith("-") else b"\0"
    encoded = os.fsencode(name)
    assert words.startswith(b"serve\0--model" + between + encoded + b":m\0")
    assert b"\0--alias" + between + encoded + b"\0" in words
    assert words.endswith(b"\0--chat-template" + between + encoded)


@pytest.mark.parametrize("name", [name for name in NAMES if "\udcff" not in name])
def test_the_server_reads_the_names_as_they_were_given(fake: Fake, name: str) -> None:
    server = fake.server(fake.binary(), alias=name or None, model=f"m{name}").start()

    with LLM(socket=server.socket) as llm:
        assert [name or "m"] == llm.models()


OTHER_LOCALE = """
import pathlib, sys
from mlxcel_integrations import ManagedServer, MlxcelServerError
assert sys.getfilesystemencoding() == "ascii", sys.getfilesystemencoding()
try:
    ManagedServer(sys.argv[2], binary=sys.argv[1], alias="\\u00fc-\\U0001f999").start()
except MlxcelServerError as error:
    assert "exit status 3" in str(error), ascii(str(error))
"""


def test_names_arrive_in_utf_8_whatever_the_locale(fake: Fake, tmp_path: Path) -> None:
    binary = fake.script(f"printf '%s\\0' \"$@\" > {tmp_path}/argv; exit 3")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", OTHER_LOCALE, binary, "org/모델".encode()],
        env={**os.environ, **locale},
        check=True,
    )

    words = received(tmp_path / "argv")
    assert "org/모델".encode() == words[2]
    assert "ü-🦙".encode() == words[words.index(b"--alias") + 1]


# --------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    "name",
    [
        *(
            "PATH",
            "HOME",
            "LANG",
            "RUST_LOG",
            "NO_COLOR",
            "CI",
            "HTTPS_PROXY",
            "CUDA_VISIBLE_DEVICES",
        ),
        *("HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "LLAMA_CACHE", "LLAMA", "MLXCELX"),
        *("MLXCEL_MODELS_DIR", "MLXCEL_CACHE_DIR", "MLXCEL_DEFAULT_ORG", "MLXCEL_NO_PROGRESS"),
        *("MLXCEL_ALLOW_INSECURE_ENDPOINT", "MLXCEL_DEVICE", "MLXCEL_MEMORY_LIMIT"),
        *("llama_arg_port", " MLXCEL_X", "with space", "ÜMLAUT", "not-utf-8-\udcff"),
    ],
)
@pytest.mark.parametrize("value", ["", "a b", "모델", "\udcff", "two\nlines", "a=b"])
def test_what_is_about_the_machine_reaches_the_server(name: str, value: str) -> None:
    assert {name: value} == environment({name: value}, None)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "LLAMA_ARG_PORT",
            "LLAMA_ARG_HOST",
            "LLAMA_ARG_API_PREFIX",
            "LLAMA_ARG_",
            "LLAMA_ARG_Ü x",
        ),
        *("LLAMA_API_KEY", "LLAMA_LOG_FILE", "LLAMA_LOG_VERBOSITY", "LLAMA_CHAT_TEMPLATE_KWARGS"),
        *("MLXCEL_API_KEY", "MLXCEL_MODEL", "MLXCEL_BASE_URL", "MLXCEL_SOCKET", "MLXCEL_BIN"),
        *("MLXCEL_KV_CACHE_BUDGET", "MLXCEL_DRAFT_KIND", "MLXCEL_ALLOWED_ORIGINS", "MLXCEL_"),
    ],
)
def test_what_was_set_for_other_servers_does_not_reach_it(name: str) -> None:
    assert {"A": "b"} == environment({name: "x", "A": "b"}, None)


def test_the_key_is_the_one_that_was_given() -> None:
    inherited = {"LLAMA_API_KEY": "old", "MLXCEL_API_KEY": "old"}

    assert {"LLAMA_API_KEY": "new"} == environment(inherited, Secret("new"))
    assert {"LLAMA_API_KEY": "old", "MLXCEL_API_KEY": "old"} == inherited


def test_the_server_sees_a_clean_environment(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_LOG_FILE", "/tmp/x.log")
    monkeypatch.setenv("MLXCEL_KV_CACHE_BUDGET", "none")
    monkeypatch.setenv("MLXCEL_CACHE_DIR", "/with space/모델/\udcff")

    fake.server(fake.binary()).start()

    seen = fake.starts[0]["environment"]
    del seen[DIRECTORY_VARIABLE]
    assert {"MLXCEL_CACHE_DIR": "/with space/모델/\udcff"} == {
        name: value for name, value in seen.items() if name.startswith(("LLAMA_", "MLXCEL_"))
    }
