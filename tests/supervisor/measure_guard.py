"""Kill owners of servers at random moments, and look at what stays behind. On Linux only.

python -m tests.supervisor.measure_guard [KILLS]
"""

from __future__ import annotations

import os
import random
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from mlxcel_integrations.supervisor import guard
from tests.fakes.program import executable

ROOT = Path(__file__).parents[2]

# One program that forks all owners, since importing the package takes longer than a server's life.
OWNERS = """
import contextlib, os, sys, time, warnings
import httpx, openai
from mlxcel_integrations import LLM
warnings.simplefilter("ignore")
binary, sibling = sys.argv[1], sys.argv[2] == "1"

def own():
    while True:
        # A guard that is killed is an error here.
        with contextlib.suppress(Exception), LLM("m", binary=binary, shutdown_grace=0.2) as llm:
            for _ in llm.stream("hi"):
                pass
            if sibling and os.fork() == 0:
                # It must never get back into the loop: it would fork in turn.
                time.sleep(30)
                os._exit(0)

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        own()
    print(child, flush=True)
    os.waitpid(child, 0)
"""


class Owners:
    """Programs that start servers, use and stop them, over and over."""

    def __init__(self, binary: str, runtime: Path, *, sibling: bool) -> None:
        self._runtime = runtime
        self._launcher = subprocess.Popen(
            [sys.executable, "-c", OWNERS, binary, str(int(sibling))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(runtime)},
        )

    def start(self) -> psutil.Process:
        assert self._launcher.stdin is not None
        assert self._launcher.stdout is not None
        self._launcher.stdin.write("\n")
        self._launcher.stdin.flush()
        return psutil.Process(int(self._launcher.stdout.readline()))

    @property
    def left(self) -> list[psutil.Process]:
        """The guards, the servers and what they have started, however far from their owner."""
        own = psutil.Process(self._launcher.pid).cmdline()
        return [process for process, command in self._all().items() if command != own]

    def _all(self) -> dict[psutil.Process, list[str]]:
        found = {}
        for process in psutil.process_iter():
            # Nobody can read these of a zombie, or of what ends meanwhile.
            with suppress(psutil.Error):
                if process.environ().get("XDG_RUNTIME_DIR") == str(self._runtime):
                    found[process] = process.cmdline()
        return found

    def close(self) -> None:
        """End the owners, the siblings that they forked, and what should have ended long ago."""
        for process in self._all():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._launcher.communicate()


def is_guard(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return guard.__file__ in process.cmdline()
    return False


def seconds_until_end(processes: list[psutil.Process], since: float) -> float:
    """Wait for the end of all of them and return how long after a time the last one ended."""
    worst = 0.0
    for process in processes:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(process.pid)
            try:
                select.select([handle], [], [], 5)
            finally:
                os.close(handle)
            worst = max(worst, time.monotonic() - since)
    return worst


def kill_owner(owner: psutil.Process, *, guard_first: bool = False) -> float | None:
    """Kill a process and return how long its server lived on, None if it had none.

    Args:
        owner: A process that may have a server.
        guard_first: Kill the guard instead, and the process a little later.
    """
    try:
        children = owner.children()
        guards = [child for child in children if is_guard(child)]
        servers = [server for one in guards for server in one.children(recursive=True)]
    except psutil.NoSuchProcess:
        # A guard ended while it was looked at.
        guards, servers = [], []
    killed = time.monotonic()
    if guard_first:
        for one in guards:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    else:
        owner.kill()
    worst = seconds_until_end(servers, killed)
    if guard_first:
        # It cleans up in place of its guard.
        time.sleep(0.1)
    with suppress(psutil.NoSuchProcess):
        owner.kill()
    return worst if servers else None


@contextmanager
def runtime_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="run-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def kills(
    count: int, binary: str, runtime: Path, *, sibling: bool = False, guard_first: bool = False
) -> tuple[list[float], list[psutil.Process]]:
    """Kill owners until so many had a server; return how long each lived on, and what is left."""
    owners = Owners(binary, runtime, sibling=sibling)
    try:
        latencies: list[float] = []
        while len(latencies) < count:
            owner = owners.start()
            time.sleep(random.uniform(0, 0.7))
            latency = kill_owner(owner, guard_first=guard_first)
            if latency is not None:
                latencies.append(latency)
        deadline = time.monotonic() + 2
        while (left := owners.left) and time.monotonic() < deadline:
            time.sleep(0.01)
        return latencies, left
    finally:
        owners.close()


def figures(latencies: list[float]) -> str:
    worst, median = max(latencies) * 1000, statistics.median(latencies) * 1000
    return f"{len(latencies)} servers, median {median:.1f} ms, worst {worst:.1f} ms"


def main(count: int) -> None:
    cases = {
        "owner killed": {},
        "owner killed, a forked sibling lives": {"sibling": True},
        "guard killed, its owner later": {"guard_first": True},
    }
    for name, options in cases.items():
        with runtime_directory() as runtime, tempfile.TemporaryDirectory() as directory:
            binary = str(executable(Path(directory), FAKE_LOAD_SECONDS="0.1"))
            latencies, left = kills(count, binary, runtime, **options)
            directories = list(runtime.iterdir())
        print(
            f"{name}: {figures(latencies)}, "
            f"{len(left)} processes and {len(directories)} directories left",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
