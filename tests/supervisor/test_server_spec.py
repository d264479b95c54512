"""A specification gives equal servers the same name, from which nobody learns the key."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.protocol.features import TrainedContext
from mlxcel_integrations.secret import Secret
from mlxcel_integrations.supervisor.server_spec import ServerSpec
from mlxcel_integrations.transport.endpoint import Endpoint


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "mlxcel"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def spec(
    binary: Path | str, model: str = "m", key: str | None = None, **options: Any
) -> ServerSpec:
    socket = options.pop("socket", None)
    secret = Secret(key) if key is not None else None
    return ServerSpec(model, ServerOptions(binary=binary, **options), socket, secret)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"socket": "/tmp/x.sock"}, False),
        ({"host": "127.0.0.1"}, True),
        ({"port": 8080}, False),
        ({"host": "127.0.0.1", "port": 8080}, False),
    ],
)
def test_a_host_without_a_port_takes_any_free_port(
    options: dict[str, Any], expected: bool, binary: Path
) -> None:
    assert expected == spec(binary, **options).takes_free_port


def test_its_command_line_serves_the_model_at_the_address(binary: Path) -> None:
    command = spec(binary, "org/m", ctx_size=512).command(Endpoint("http://127.0.0.1:8080"), None)

    assert [str(binary), "serve", "--model", "org/m"] == command[:4]
    assert {"8080", "512"} <= set(command)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Models that mlxcel has downloaded, made for 4096 tokens."""
    for name in ("org/m", "gpt2"):
        (tmp_path / "store" / name).mkdir(parents=True)
        config = tmp_path / "store" / name / "config.json"
        config.write_text('{"max_position_embeddings": 4096}')
    monkeypatch.setenv("MLXCEL_MODELS_DIR", str(tmp_path / "store"))
    return tmp_path / "store"


def test_a_downloaded_model_without_an_owner_is_served_by_its_path(
    binary: Path, store: Path
) -> None:
    command = spec(binary, "gpt2").command(Endpoint("http://127.0.0.1:8080"), None)

    assert str(store / "gpt2") == command[3]


def test_it_knows_the_window_of_its_model_unless_another_is_set(binary: Path, store: Path) -> None:
    expected = TrainedContext(4096, str(store / "org/m/config.json"))

    assert expected == spec(binary, "org/m").trained_context()
    assert expected == spec(binary, str(store / "org/m"), ctx_size=0).trained_context()
    assert spec(binary, "org/m", ctx_size=512).trained_context() is None
    assert spec(binary, "org/other").trained_context() is None


def test_it_knows_the_window_of_a_gguf_file(binary: Path, tmp_path: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(b"GGUFllama.context_length" + struct.pack("<II", 4, 2048))

    assert TrainedContext(2048, str(model)) == spec(binary, str(model)).trained_context()


def test_its_environment_has_the_key_and_its_command_line_does_not(binary: Path) -> None:
    server = spec(binary, key="k3y")

    assert "k3y" == server.environment()["LLAMA_API_KEY"]
    assert "k3y" not in " ".join(server.command(Endpoint("http://x:1"), None))
    assert "LLAMA_API_KEY" not in spec(binary).environment()


def test_a_relative_executable_is_found_from_here(
    binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(binary.parent)

    assert (str(binary),) == spec(Path("mlxcel")).executable.command


def test_a_missing_executable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MlxcelError, match=r"from binary= does not exist"):
        _ = spec(tmp_path / "none").executable


def test_equal_servers_have_one_fingerprint(binary: Path) -> None:
    """Options that only concern the start or the end do not make another server."""
    first = spec(binary, key="k")

    assert first.fingerprint(None) == spec(binary, key="k", startup_timeout=5.0).fingerprint(None)
    assert 16 == len(first.fingerprint(None))


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"key": "other"},
        {"key": None},
        {"ctx_size": 512},
        {"port": 8080},
        {"host": "127.0.0.1"},
        {"socket": "/tmp/x.sock"},
        {"extra_args": ("--metrics",)},
    ],
)
def test_other_servers_have_another_fingerprint(other: dict[str, Any], binary: Path) -> None:
    assert spec(binary, key="k").fingerprint(None) != spec(
        binary, **{"key": "k", **other}
    ).fingerprint(None)
