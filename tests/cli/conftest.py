"""Runs the command line in a process of its own, and sees what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxcel_integrations.embedded.model import cache_directory
from tests import WARNINGS_ARE_ERRORS

ROOT = Path(__file__).parents[2]


class CommandLine:
    """The command in a clean environment; its server's socket goes into `runtime`.

    The cache is one of its own, with the built-in model in it.
    """

    argv = (
        sys.executable,
        *WARNINGS_ARE_ERRORS,
        "-c",
        # Programs that are started in the background may have been told to ignore Ctrl-C.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from mlxcel_integrations.cli import main; sys.exit(main())",
    )

    def __init__(self, runtime: Path, cache: Path) -> None:
        self.runtime = runtime
        own = cache / cache_directory().name
        own.mkdir(parents=True)
        for file in cache_directory().glob("*.[gc]*"):
            (own / file.name).symlink_to(file)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLXCEL_")}
        self.environ = {**kept, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(runtime)}
        self.environ["XDG_CACHE_HOME"] = str(cache)
        self.environ.pop("NO_COLOR", None)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.argv, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environ, **environ},
        )

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environ)
        out, err = process.communicate(timeout=100)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    # Short, unlike tmp_path: the path of a socket has a limit.
    with tempfile.TemporaryDirectory(prefix="cli-") as runtime:
        yield CommandLine(Path(runtime), tmp_path / "cache")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder in which a command that runs in this process keeps its files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own cache"))
    return cache_directory()
