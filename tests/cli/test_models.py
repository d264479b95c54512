"""The models that mlxcel has on this machine, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlxcel_integrations.cli import main
from mlxcel_integrations.cli.models import describe_model
from mlxcel_integrations.protocol.features import TrainedContext
from mlxcel_integrations.supervisor.local_models import LocalModel
from tests.fakes.program import executable


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where mlxcel, which is installed, keeps models."""
    path = tmp_path / "store"
    path.mkdir()
    monkeypatch.setenv("MLXCEL_MODELS_DIR", str(path))
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path)))
    return path


def download(store: Path, name: str, size: int, config: str = "{}") -> None:
    directory = store / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(config)
    with (directory / "model.safetensors").open("wb") as weights:
        weights.truncate(size - len(config))


def test_a_table_has_name_size_context_and_path(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(store, "mlx-community/Qwen3-4B-4bit", 5 * 2**29, '{"max_position_embeddings": 40960}')
    download(store, "me/tiny", 1536)

    assert 0 == main(["models"])
    name = "mlx-community/Qwen3-4B-4bit"
    assert [
        "NAME                            SIZE  CONTEXT  PATH",
        f"me/tiny                      1.5 KiB  unknown  {store}/me/tiny",
        f"mlx-community/Qwen3-4B-4bit  2.5 GiB    40960  {store}/{name}",
    ] == capsys.readouterr().out.splitlines()


def test_json_has_numbers(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    download(store, "a/b", 2000, '{"max_position_embeddings": 4096}')
    download(store, "c", 3000)

    assert 0 == main(["models", "--json"])
    assert [
        {"name": "a/b", "path": f"{store}/a/b", "size": 2000, "context_size": 4096},
        {"name": "c", "path": f"{store}/c", "size": 3000, "context_size": None},
    ] == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], "mlxcel has no models on this machine. It downloads one"), (["--json"], "[]\n")],
)
def test_no_models_are_no_error(
    options: list[str], expected: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == main(["models", *options])
    assert capsys.readouterr().out.startswith(expected)


def test_a_missing_mlxcel_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLXCEL_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")

    assert 1 == main(["models"])
    assert "There is no mlxcel on this machine: " in capsys.readouterr().err


def test_a_list_that_fails_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLXCEL_BIN", str(executable(tmp_path, FAKE_LIST="fails")))

    assert 1 == main(["models"])
    out, err = capsys.readouterr()
    assert "" == out
    assert "shows no models: it ended with exit status 2" in err


def test_the_names_of_directories_cannot_control_a_terminal(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(store, "a/\x1b[31mred", 10)

    assert 0 == main(["models"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "context", "expected"),
    [
        (None, None, "unknown size, unknown context"),
        (0, None, "0 B, unknown context"),
        (1023, 1, "1023 B, context of 1 tokens"),
        (1024, 4096, "1.0 KiB, context of 4096 tokens"),
        (3 * 2**20, 4096, "3.0 MiB, context of 4096 tokens"),
        (2**40, 4096, "1024.0 GiB, context of 4096 tokens"),
    ],
)
def test_a_model_is_described_by_size_and_context(
    size: int | None, context: int | None, expected: str
) -> None:
    trained = TrainedContext(context, "/x/config.json") if context is not None else None

    assert expected == describe_model(LocalModel("a/b", "/x", size, trained))
