"""Parts of every measurement: its figures, and a fake `mlxcel` outside of pytest."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.supervisor.conftest import Fake, wait_until


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: What came out.
        target: What it must reach; empty where it is only told.
        ok: Whether it does.
        places: Where the value comes from, for whoever has to mend it.
    """

    name: str
    value: str
    target: str = ""
    ok: bool = True
    places: tuple[str, ...] = ()


@contextlib.contextmanager
def fake_mlxcel() -> Iterator[Fake]:
    """A fake `mlxcel` with a runtime directory of its own; whatever is left of it is ended."""
    before = os.environ.get("XDG_RUNTIME_DIR")
    # Any longer path leaves no room for the name of a socket.
    directory = Path(tempfile.mkdtemp(prefix="fault-", dir="/tmp"))
    runtime = directory / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    fake = Fake(directory, runtime)
    try:
        yield fake
    finally:
        for pid in fake.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


def left_of(fake: Fake, seconds: float = 3.0) -> list[str]:
    """Return what is left of all servers: processes, zombies, threads, directories."""

    def left() -> list[str]:
        processes = {
            child.pid: child.status() for child in psutil.Process().children(recursive=True)
        }
        processes |= dict.fromkeys(set(fake.running) - processes.keys(), "orphan")
        threads = [thread.name for thread in threading.enumerate()[1:]]
        return [f"process ({status})" for status in processes.values()] + threads + fake.directories

    wait_until(lambda: not left(), seconds)
    return left()


def noted(times: Path) -> dict[str, float]:
    """Return when each event that a fake server wrote down happened first."""
    first: dict[str, float] = {}
    for line in times.read_text().splitlines():
        event = json.loads(line)
        first.setdefault(event["event"], event["at"])
    return first


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median and the worst in words."""
    median, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    return f"median {median:.1f} ms, worst {worst:.1f} ms of {len(seconds)}"
