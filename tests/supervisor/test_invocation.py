"""An invocation gives equal servers the same name, from which nobody learns the key."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.protocol.features import TrainedContext
from mlxcel_integrations.secret import Secret
from mlxcel_integrations.supervisor.invocation import Invocation
from mlxcel_integrations.supervisor.server_spec import ServerSpec
from mlxcel_integrations.transport.endpoint import Endpoint


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "mlxcel"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def invocation(
    binary: Path | str, model: str = "m", key: str | None = None, **options: Any
) -> Invocation:
    socket = options.pop("socket", None)
    secret = Secret(key) if key is not None else None
    return Invocation(ServerSpec(model, ServerOptions(binary=binary, **options), socket, secret))


def test_its_command_line_serves_the_model_at_the_address(binary: Path) -> None:
    command = invocation(binary, "org/m", ctx_size=512).command(
        Endpoint("http://127.0.0.1:8080"), None
    )

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
    command = invocation(binary, "gpt2").command(Endpoint("http://127.0.0.1:8080"), None)

    assert str(store / "gpt2") == command[3]


def test_it_knows_the_window_of_its_model_unless_another_is_set(binary: Path, store: Path) -> None:
    expected = TrainedContext(4096, str(store / "org/m/config.json"))

    assert expected == invocation(binary, "org/m").trained_context()
    assert expected == invocation(binary, str(store / "org/m"), ctx_size=0).trained_context()
    assert invocation(binary, "org/m", ctx_size=512).trained_context() is None
    assert invocation(binary, "org/other").trained_context() is None


def test_it_knows_the_window_of_a_gguf_file(binary: Path, tmp_path: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(b"GGUFllama.context_length" + struct.pack("<II", 4, 2048))

    assert TrainedContext(2048, str(model)) == invocation(binary, str(model)).trained_context()


def test_its_environment_has_the_key_and_its_command_line_does_not(binary: Path) -> None:
    server = invocation(binary, key="k3y")

    assert "k3y" == server.environment()["LLAMA_API_KEY"]
    assert "k3y" not in " ".join(server.command(Endpoint("http://x:1"), None))
    assert "LLAMA_API_KEY" not in invocation(binary).environment()


def test_a_relative_executable_is_found_from_here(
    binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(binary.parent)

    assert (str(binary),) == invocation(Path("mlxcel")).executable.command


def test_a_missing_executable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MlxcelError, match=r"from binary= does not exist"):
        _ = invocation(tmp_path / "none").executable


def test_equal_servers_have_one_fingerprint(binary: Path) -> None:
    """Options that only concern the start or the end do not make another server."""
    first = invocation(binary, key="k")

    assert first.fingerprint(None) == invocation(binary, key="k", startup_timeout=5.0).fingerprint(
        None
    )
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
    assert invocation(binary, key="k").fingerprint(None) != invocation(
        binary, **{"key": "k", **other}
    ).fingerprint(None)
