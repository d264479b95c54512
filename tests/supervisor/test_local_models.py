"""The models that ``mlxcel list`` shows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.features import TrainedContext
from mlxcel_integrations.supervisor.binary import find_executable
from mlxcel_integrations.supervisor.local_models import (
    LocalModel,
    list_local_models,
    read_model_list,
)

from .conftest import Fake, runs, wait_until

QWEN, GEMMA = "mlx-community/Qwen3-4B-4bit", "mlx-community/gemma-3-1b-it-4bit"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory in which mlxcel keeps its models."""
    path = tmp_path / "store"
    path.mkdir()
    monkeypatch.setenv("MLXCEL_MODELS_DIR", str(path))
    return path


def download(store: Path, name: str, **config: Any) -> Path:
    directory = store / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def models_of(binary: str, seconds: float = 20.0) -> list[LocalModel]:
    return list_local_models(find_executable("m", binary), seconds)


def test_models_have_a_name_a_path_a_size_and_a_window(fake: Fake, store: Path) -> None:
    qwen = download(store, QWEN, max_position_embeddings=40960)
    (qwen / "model.safetensors").write_bytes(b"x" * 1000)
    bare = download(store, "gpt2")

    context = TrainedContext(40960, str(qwen / "config.json"))
    assert [
        LocalModel("gpt2", str(bare), 2, None),
        LocalModel(QWEN, str(qwen), 1000 + 34, context),
    ] == models_of(fake.binary())


def test_an_empty_store_has_no_models(fake: Fake, store: Path) -> None:
    assert [] == models_of(fake.binary())


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"repo_id": "a/b", "path": "/x", "size_bytes": 5}, LocalModel("a/b", "/x", 5, None)),
        ({"repo_id": "a/b", "path": "/x"}, LocalModel("a/b", "/x", None, None)),
        ({"repo_id": "a/b", "path": "/x", "size_bytes": "5"}, LocalModel("a/b", "/x", None, None)),
        ({"repo_id": "a/b", "path": "a\0b"}, LocalModel("a/b", "a\0b", None, None)),
        ({"repo_id": "a/b"}, None),
        ({"repo_id": "", "path": "/x"}, None),
        ({"repo_id": 1, "path": "/x"}, None),
        ({"path": "/x"}, None),
        ("a/b", None),
        (None, None),
    ],
)
def test_entries_of_the_list_are_read_or_left_out(entry: Any, expected: LocalModel | None) -> None:
    found = read_model_list(json.dumps([entry]).encode())

    assert ([] if expected is None else [expected]) == found


@pytest.mark.parametrize(
    "output", [b"", b"{}", b"null", b"no models", b"\xff", b"[" * 100_000, b"[1" + b"0" * 5000]
)
def test_garbage_is_no_list(output: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it printed b'.{0,100}' instead of a list$"):
        read_model_list(output)


@pytest.mark.parametrize(
    ("way", "seconds", "reason"),
    [
        ("hangs", 0.5, r"it did not end within 0\.5 s"),
        ("floods", 10.0, "it printed more than 16777216 bytes"),
        ("fails", 10.0, "it ended with exit status 2"),
        ("what models?", 10.0, r"it printed b'what models\?\\n' instead of a list"),
    ],
)
@pytest.mark.parametrize("wrapper", [False, True])
def test_a_program_that_lists_nothing_is_told(
    way: str, seconds: float, reason: str, wrapper: bool, fake: Fake, store: Path
) -> None:
    binary = fake.binary(LIST=way, wrapper=wrapper)
    began = time.monotonic()

    with pytest.raises(MlxcelError, match=rf"{binary} list --json shows no models: {reason}\. Run"):
        models_of(binary, seconds=seconds)
    assert time.monotonic() - began < 10


def test_nothing_is_left_of_a_program_that_hangs(fake: Fake, tmp_path: Path) -> None:
    script = fake.script(f"sleep 600 & echo $! > {tmp_path}/child; exit 0")

    with pytest.raises(MlxcelError, match=r"did not end within 0\.5 s"):
        models_of(script, seconds=0.5)

    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not runs(child))


def test_a_program_that_cannot_be_run_is_told(fake: Fake) -> None:
    binary = fake.script("exit 0")
    Path(binary).write_bytes(b"no program")

    with pytest.raises(MlxcelError, match=r"shows no models: .*Exec format error"):
        models_of(binary)


@pytest.mark.parametrize("name", ["mlxcel-server", "llama-server"])
def test_other_programs_have_no_list(name: str, fake: Fake) -> None:
    with pytest.raises(MlxcelError, match=f"{name} cannot list models"):
        models_of(fake.binary(name))
