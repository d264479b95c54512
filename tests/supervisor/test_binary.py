"""Which program serves a model, and what a user reads when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelServerError
from mlxcel_integrations.supervisor.binary import (
    EMBEDDED,
    LLAMA_SERVER,
    MLXCEL,
    MLXCEL_SERVER,
    Dialect,
    find_executable,
)

from .conftest import Fake


def program(path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_named_one_beats_the_environment_and_that_beats_the_path(tmp_path: Path) -> None:
    named = program(tmp_path / "named")
    variable = program(tmp_path / "variable")
    on_path = program(tmp_path / "bin" / "mlxcel")
    environ = {"MLXCEL_BIN": variable, "PATH": str(tmp_path / "bin")}

    assert ((named,), "binary= names it") == chosen(named, environ)
    assert ((variable,), "MLXCEL_BIN names it") == chosen(None, environ)
    del environ["MLXCEL_BIN"]
    assert ((on_path,), "mlxcel is on PATH") == chosen(None, environ)


def chosen(binary: str | None, environ: dict[str, str]) -> tuple[tuple[str, ...], str]:
    found = find_executable("m", binary, environ)
    return found.command, found.reason


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("mlxcel", MLXCEL),
        ("mlxcel-0.5", MLXCEL),
        ("mlxcel-server", MLXCEL_SERVER),
        ("llama-server", LLAMA_SERVER),
        ("llama-server-b9000", LLAMA_SERVER),
        ("anything", MLXCEL),
    ],
)
def test_its_name_tells_its_command_line(name: str, dialect: Dialect, tmp_path: Path) -> None:
    assert dialect == find_executable("m", program(tmp_path / name), {}).dialect


@pytest.mark.parametrize("model", ["embedded", "/models/x.gguf"])
def test_gguf_files_run_on_the_embedded_engine_unless_a_binary_is_named(
    model: str, tmp_path: Path
) -> None:
    named = program(tmp_path / "llama-server")

    assert EMBEDDED == find_executable(model, None, {"MLXCEL_BIN": named}).dialect
    assert LLAMA_SERVER == find_executable(model, named, {}).dialect


def test_names_are_looked_up_as_a_shell_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = program(tmp_path / "bin" / "mlxcel")
    home = program(tmp_path / "home" / "mlxcel")
    program(tmp_path / "mlxcel")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    environ = {"PATH": str(tmp_path / "bin")}

    assert (other,) == find_executable("m", "mlxcel", environ).command
    assert ("./mlxcel",) == find_executable("m", "./mlxcel", environ).command
    assert (home,) == find_executable("m", "~/mlxcel", environ).command


@pytest.mark.parametrize("source", ["binary=", "MLXCEL_BIN"])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "does not exist"),
        ("directory", "is a directory"),
        ("text", "cannot be executed: chmod \\+x"),
    ],
)
def test_one_that_cannot_be_run_is_named_with_where_its_name_came_from(
    source: str, name: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "text").write_text("no program")
    path = str(tmp_path / name)
    binary, environ = (path, {}) if source == "binary=" else (None, {"MLXCEL_BIN": path})

    with pytest.raises(MlxcelServerError, match=f"'{path}' from {source} {problem}"):
        find_executable("m", binary, environ)


def test_without_any_the_error_tells_the_ways_to_go_on() -> None:
    with pytest.raises(MlxcelServerError) as caught:
        find_executable("org/m", None, {"PATH": "/nowhere"})

    for word in ("'org/m'", "binary=", "MLXCEL_BIN", "PATH", "base_url=", 'model="embedded"'):
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01\x01", b"#!/no/such/interpreter\n"])
def test_a_file_that_is_no_program_for_this_machine_is_one_clear_error(
    content: bytes, fake: Fake
) -> None:
    binary = fake.script("")
    Path(binary).write_bytes(content)

    with pytest.raises(MlxcelServerError, match=f"{binary} cannot be run: "):
        fake.server(binary).start()
