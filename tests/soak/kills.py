"""Owners of servers that are killed at random moments: no process and no file is left. Linux only.

Half of them have a forked sibling that lives on, half have a server behind a script without
``exec``, and half share it with ``share="user"``. With some of them, the guard or the broker is
killed at the same moment, or both. Meanwhile other processes are stopped and continued.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.faults.measurements import Figure, fake_mlxcel
from tests.supervisor.conftest import Fake, wait_until
from tests.supervisor.measure_guard import is_guard

__all__ = ["kills"]

ROOT = Path(__file__).parents[2]

AT_ONCE = 4
"""How many owners live at the same time."""

MODELS = 3
"""How many models they use: some share a server, and all share the directories."""

END_SECONDS = 20.0
"""Much longer than anything that was killed takes to be gone."""

# One program that forks all owners, since importing the package takes longer than a server's life.
OWNERS = """
import contextlib, os, random, signal, sys, time, warnings
import httpx, mlxcel_integrations.supervisor.leases, mlxcel_integrations.supervisor.shared_start
from mlxcel_integrations import LLM
warnings.simplefilter("ignore")

def own(binary, model, share, sibling):
    options = {"share": "user", "keep_alive": 0} if share == "user" else {}
    while True:
        # A guard or broker that is killed is an error here.
        with contextlib.suppress(Exception):
            with LLM(model, binary=binary, shutdown_grace=0.2, **options) as llm:
                "".join(llm.stream("hi"))
                open(f"{binary}-{os.getpid()}", "w").close()
                if sibling:
                    sibling = False
                    if os.fork() == 0:
                        # It must never get back into the loop.
                        signal.pause()
                        os._exit(0)
                time.sleep(random.uniform(0, 0.3))

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    binary, model, share, sibling = line.split()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        random.seed()
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        try:
            own(binary, model, share, sibling == "sibling")
        finally:
            os._exit(1)
    print(child, flush=True)
"""


def kills(count: int) -> Figure:
    """Kill so many owners, then start and close one server, and look at what is left."""
    start = time.monotonic()
    victims: Counter[str] = Counter()
    with fake_mlxcel() as fake:
        binaries = [
            fake.binary(f"mlxcel-{wrapper}", wrapper=wrapper, LOAD_SECONDS="0.05")
            for wrapper in (False, True)
        ]
        owners = Owners()
        try:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                chances = map(random.Random, range(count))
                victims.update(threads.map(lambda chance: kill(owners, binaries, chance), chances))
            wait_until(lambda: not left_of(fake, owners), END_SECONDS)
            left = [" ".join(process_words(process)) for process in left_of(fake, owners)]
            # What was killed with its guard leaves a directory to the next start.
            with fake.server(binaries[0]):
                pass
        finally:
            owners.end()
        files = [str(path) for path in fake.runtime.rglob("*")]
        starts = len(fake.starts)
    return Figure(
        f"owners killed, {', '.join(f'{many} {who}' for who, many in sorted(victims.items()))}",
        f"{count} killed, {starts} servers started, {len(left)} processes and {len(files)} files "
        f"left, in {time.monotonic() - start:.0f} s",
        "0 left",
        victims.total() == count and starts > count / 4 and not left and not files,
        tuple((left + files)[:10]),
    )


class Owners:
    """Programs that start servers, use and close them, over and over."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._parent = subprocess.Popen(
            [sys.executable, "-c", OWNERS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        self.group = self._parent.pid

    def start(self, *words: str) -> psutil.Process:
        stdin, stdout = self._parent.stdin, self._parent.stdout
        assert stdin is not None
        assert stdout is not None
        with self._asking:
            print(*words, file=stdin, flush=True)
            return psutil.Process(int(stdout.readline()))

    def end(self) -> None:
        """End them all, and their siblings."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        self._parent.communicate()


def kill(owners: Owners, binaries: list[str], chance: random.Random) -> str:
    """Start an owner, kill it at a random moment, and tell who was killed with it."""
    owner = owners.start(
        binary := chance.choice(binaries),
        f"model-{chance.randrange(MODELS)}",
        share := chance.choice(["process", "user"]),
        chance.choice(["sibling", "alone"]),
    )
    if chance.random() < 0.7:
        wait_until(Path(f"{binary}-{owner.pid}").exists, END_SECONDS)
    time.sleep(chance.uniform(0, 0.5))
    if chance.random() < 0.2:
        stop_one(owner, chance)
    with_others = chance.random() < 0.3
    others = above_servers(owner, share, chance) if with_others else []
    victims = [*others, owner]
    # None of them sees the end of another one.
    for send in (psutil.Process.suspend, psutil.Process.kill):
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                send(victim)
    return "alone" if not others else f"with {'broker' if share == 'user' else 'guard'}"


def stop_one(owner: psutil.Process, chance: random.Random) -> None:
    """Stop one guard, broker or server of any owner for a moment."""
    with contextlib.suppress(psutil.Error):
        runtime = owner.environ()["XDG_RUNTIME_DIR"]
        process = chance.choice([*running_in(runtime, os.getpgid(owner.pid)), owner])
        process.suspend()
        time.sleep(chance.uniform(0, 1.0))
        process.resume()


def above_servers(owner: psutil.Process, share: str, chance: random.Random) -> list[psutil.Process]:
    """Return the guard of an owner's server; a broker, perhaps with its guard, if it is shared."""
    with contextlib.suppress(psutil.Error):
        if share == "process":
            return [child for child in owner.children() if is_guard(child)]
        brokers = [one for one in psutil.process_iter() if is_broker_of(one, owner)]
        if brokers:
            broker = chance.choice(brokers)
            return [broker, *chance.choice([[], broker.children()])]
    return []


def is_broker_of(process: psutil.Process, owner: psutil.Process) -> bool:
    """Return whether a process is a broker of the same user directory as an owner."""
    with contextlib.suppress(psutil.Error):
        return (
            any("broker import main" in word for word in process.cmdline())
            and process.environ().get("XDG_RUNTIME_DIR") == owner.environ()["XDG_RUNTIME_DIR"]
        )
    return False


def left_of(fake: Fake, owners: Owners) -> list[psutil.Process]:
    """Return guards, brokers, servers and their scripts, but not the owners and their siblings."""
    return running_in(str(fake.runtime), owners.group)


def running_in(runtime: str, but: int) -> list[psutil.Process]:
    """Return the processes of a runtime directory, except this one and a process group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if process.pid == os.getpid() or os.getpgid(process.pid) == but:
                continue
            if process.environ().get("XDG_RUNTIME_DIR") == runtime:
                found.append(process)
    return found


def process_words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return ["ended since"]
