"""Managed or connect mode: which one the arguments and the environment choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.embedded import BUILT_IN_EMBEDDER
from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.modes import resolve_mode
from mlxcel_integrations.transport.endpoint import Endpoint

MANAGED, URL, SOCKET = "org/model", "http://h:1", "/run/x.sock"
AT_URL, AT_SOCKET = Endpoint(URL), Endpoint("http://localhost", SOCKET)
ALL = {"MLXCEL_BASE_URL": URL, "MLXCEL_SOCKET": SOCKET, "MLXCEL_MODEL": MANAGED}


@pytest.mark.parametrize(
    ("given", "environment", "model", "endpoint"),
    [
        ((MANAGED, None, None), {}, MANAGED, None),
        ((MANAGED, None, SOCKET), {}, MANAGED, None),
        ((None, URL, None), {}, None, AT_URL),
        ((None, f"{URL}/v1", None), {}, None, AT_URL),
        ((None, f"unix://{SOCKET}", None), {}, None, AT_SOCKET),
        ((None, None, SOCKET), {}, None, AT_SOCKET),
        ((None, None, Path(SOCKET)), {}, None, AT_SOCKET),
        (("embedded", None, None), ALL, "embedded", None),
        ((None, None, SOCKET), ALL, None, AT_SOCKET),
        ((None, None, None), ALL, None, AT_URL),
        ((None, None, None), {**ALL, "MLXCEL_BASE_URL": ""}, None, AT_SOCKET),
        ((None, None, None), {"MLXCEL_MODEL": MANAGED}, MANAGED, None),
    ],
)
def test_arguments_come_before_the_environment(
    given: tuple[Any, ...], environment: dict[str, str], model: str | None, endpoint: Any
) -> None:
    mode = resolve_mode(*given, environment)

    assert (model, endpoint) == (mode.model, mode.endpoint)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ((MANAGED, URL, None), ["model='org/model'", "base_url='http://h:1'", "served_model="]),
        ((MANAGED, URL, SOCKET), ["Drop base_url="]),
        ((None, URL, SOCKET), ["base_url='http://h:1'", "socket='/run/x.sock'", "Drop the one"]),
        ((None, None, None), ["model=", "base_url=", "socket=", '"embedded"', "MLXCEL_BASE_URL"]),
        (("", None, None), ["model= is empty"]),
        ((" ", None, None), ["model= is empty"]),
        ((None, "", None), ["not an address"]),
    ],
)
def test_too_much_or_nothing_says_what_to_drop(given: tuple[Any, ...], parts: list[str]) -> None:
    with pytest.raises(MlxcelError) as caught:
        resolve_mode(*given, {})

    assert [] == [part for part in parts if part not in str(caught.value)]


def test_a_local_model_means_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.gguf").touch()
    (tmp_path / "embedded").mkdir()

    names = ("m.gguf", Path("m.gguf"), "embedded", "other.gguf")

    assert [str(tmp_path / "m.gguf")] * 2 + ["embedded", "other.gguf"] == [
        resolve_mode(name, None, None, {}).model for name in names
    ]


# --------------------------------------------------------------------------- a second server


@pytest.mark.parametrize("model", ["owner/name", "embedded"])
def test_the_built_in_embedder_is_a_second_server_beside_any_model(model: str) -> None:
    options = {"ctx_size": 4096, "socket": "/tmp/first.sock", "alias": "first", "share": False}
    llm = LLM(model=model, embedding_model="embedded", keep_alive=7, **options)

    first, second = llm._connection, llm._connection.embedder
    assert second is not None
    assert second.lease is not None
    assert first.lease is not None
    started = second.lease.server
    assert (BUILT_IN_EMBEDDER, None, False, 7) == (
        started.model,
        started.options.ctx_size,  # type: ignore[attr-defined]  # of ManagedServer
        started.options.share,  # type: ignore[attr-defined]  # of ManagedServer
        started.options.keep_alive,  # type: ignore[attr-defined]  # of ManagedServer
    )
    # mlxcel would look for a model of this name.
    assert None is first.lease.server.options.embedding_model  # type: ignore[attr-defined]
    assert [first, second] == first.starting_together


@pytest.mark.parametrize(
    ("options", "second"),
    [
        ({"model": "embedded"}, True),
        ({"model": "embedded", "binary": "llama-server"}, False),
        ({"model": "embedded", "embedding_model": "owner/embedder"}, False),
        ({"model": BUILT_IN_EMBEDDER}, False),
        ({"model": "owner/name"}, False),
        ({"model": "owner/name", "embedding_model": "owner/embedder"}, False),
        ({"base_url": URL}, False),
    ],
)
def test_where_no_second_server_is_needed_there_is_none(
    options: dict[str, Any], second: bool
) -> None:
    connection = LLM(**options)._connection

    assert second == (connection.embedder is not None)
    # It starts with the first one only if the user names its model.
    assert [connection] == connection.starting_together


def test_a_model_for_embeddings_of_another_type_is_told() -> None:
    with pytest.raises(MlxcelError, match="embedding_model"):
        LLM(model="embedded", embedding_model=3)  # type: ignore[arg-type]  # on purpose


def test_equal_embedders_are_one_server() -> None:
    one, other = LLM(model="embedded"), LLM(model="owner/name", embedding_model="embedded")

    embedders = [one._connection.embedder, other._connection.embedder]
    first, second = (connection.server for connection in embedders if connection is not None)
    assert first is second
