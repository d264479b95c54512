"""A fake `mlxcel` whose every process is known, and ended with the test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlxcel_integrations import ManagedServer
from tests.fakes.program import executable


def wait_until(happened: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until something holds; False when it did not in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def runs(pid: int) -> bool:
    """Return whether a process runs; a dead one may stay in the table until its parent looks."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Fake:
    """A fake `mlxcel`, and what is left of it.

    Attributes:
        runtime: The directory in which private directories for sockets are made.
        pid_file: Where each fake server notes its start.
    """

    def __init__(self, directory: Path, runtime: Path) -> None:
        self.runtime = runtime
        self._directory = directory
        self.pid_file = directory / "pids"
        self._servers: list[ManagedServer] = []

    def binary(self, name: str = "mlxcel", *, wrapper: bool = False, **switches: str) -> str:
        """Write the executable; `switches` are the `FAKE_*` variables without their prefix."""
        environment = {f"FAKE_{key}": value for key, value in switches.items()}
        environment["FAKE_PIDFILE"] = str(self.pid_file)
        return str(executable(self._directory, name, wrapper=wrapper, **environment))

    def script(self, body: str) -> str:
        """Write an executable of these shell lines."""
        path = self._directory / "mlxcel"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    def server(self, binary: str, model: str = "m", **options: Any) -> ManagedServer:
        """Return a server that is closed with the test at the latest."""
        server = ManagedServer(model, binary=binary, **options)
        self._servers.append(server)
        return server

    @property
    def starts(self) -> list[dict[str, Any]]:
        """What each process wrote down when it started."""
        if not self.pid_file.exists():
            return []
        return [json.loads(line) for line in self.pid_file.read_text().splitlines()]

    @property
    def running(self) -> list[int]:
        """The processes that still run, children and the shells around them included."""
        pids: set[int] = set()
        for start in self.starts:
            pids |= {start["pid"], start["pgid"]}
            pids |= {start["child"]} if start["child"] else set()
        return [pid for pid in sorted(pids) if runs(pid)]

    @property
    def directories(self) -> list[str]:
        """The private directories that are still there."""
        return sorted(path.name for path in self.runtime.iterdir())

    def wait_for_start(self, count: int = 1) -> None:
        assert wait_until(lambda: len(self.starts) >= count, 20), "the binary was not run"

    def wait_for_nothing(self, seconds: float = 2.0) -> None:
        """Wait until no process and no directory is left."""
        wait_until(lambda: not self.running and not self.directories, seconds)
        assert ([], []) == (self.running, self.directories)

    def end(self) -> None:
        for server in self._servers:
            server.close()
        left = self.running
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert ([], []) == (left, self.directories)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A fake `mlxcel`; the test fails when it leaves a process or a directory behind."""
    # The path of a test's own directory is too long for a socket.
    runtime = Path(tempfile.mkdtemp(prefix="run-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    fake = Fake(tmp_path, runtime)
    try:
        yield fake
        fake.end()
    finally:
        shutil.rmtree(runtime)
