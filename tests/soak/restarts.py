"""A server that is killed at random moments while many ask it: only what was in flight is lost."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.ports import free_port
from tests.faults.measurements import Figure, fake_mlxcel
from tests.supervisor.conftest import Fake, runs, wait_until

__all__ = ["connected", "managed"]

ASKERS = 4
KILLS = 3
"""In the life of one client: the next restarts come later and later."""

QUESTION = "a b c d e f g h"


@dataclass
class Record:
    """What was asked, and when servers were killed, in seconds.

    Attributes:
        answered: How many got their answer.
        lost: How many got an error, and had been in flight at a kill.
        wrong: What else came out.
        kills: When.
    """

    answered: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)
    kills: list[float] = field(default_factory=lambda: [-math.inf])
    ended: threading.Event = field(default_factory=threading.Event)

    def note(self, began: float, outcome: str) -> None:
        """Take note of an answer, or of the text of an error."""
        if outcome == f"echo: {QUESTION}":
            self.answered += 1
        elif outcome.startswith("error ") and began <= self.kills[-1]:
            self.lost += 1
        else:
            self.wrong.append(outcome)

    @contextlib.contextmanager
    def kill(self) -> Iterator[None]:
        """Take note of a kill; whatever is asked before the end of the block is in flight."""
        self.kills.append(math.inf)
        yield
        self.kills[-1] = time.monotonic()

    def figure(self, name: str, start: float) -> Figure:
        return Figure(
            f"{name} killed {len(self.kills) - 1} times while {2 * ASKERS} ask",
            f"{self.answered} answered, {self.lost} lost in flight, {len(self.wrong)} else, "
            f"in {time.monotonic() - start:.0f} s",
            "0 else",
            self.answered > 0 and len(self.kills) > 1 and not self.wrong,
            tuple(self.wrong[:5]),
        )


@contextlib.contextmanager
def asking(record: Record, options: dict[str, Any]) -> Iterator[None]:
    """Ask in threads and in tasks, which share one server, until the block ends."""
    record.ended.clear()

    def ask(llm: LLM) -> None:
        while not record.ended.is_set():
            began = time.monotonic()
            try:
                outcome = llm.chat(QUESTION)
            except Exception as error:  # noqa: BLE001 - each is looked at
                outcome = f"error {type(error).__name__}: {error}"
            record.note(began, outcome)

    async def aask(llm: AsyncLLM) -> None:
        while not record.ended.is_set():
            began = time.monotonic()
            try:
                outcome = await llm.chat(QUESTION)
            except Exception as error:  # noqa: BLE001 - each is looked at
                outcome = f"error {type(error).__name__}: {error}"
            record.note(began, outcome)

    async def tasks() -> None:
        async with AsyncLLM(**options) as llm:
            await asyncio.gather(*[aask(llm) for _ in range(ASKERS)])

    with LLM(**options) as llm:
        threads = [threading.Thread(target=ask, args=(llm,)) for _ in range(ASKERS)]
        threads.append(threading.Thread(target=lambda: asyncio.run(tasks())))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            record.ended.set()
            for thread in threads:
                thread.join(60)
                if thread.is_alive():
                    record.wrong.append("a request that never ends")


def managed(seconds: float) -> Figure:
    """Servers that are started here, and started again by themselves."""
    start = time.monotonic()
    record, chance = Record(), random.Random(1)
    with fake_mlxcel() as fake:
        binary = fake.binary(TOKEN_SECONDS="0.005")
        while time.monotonic() < start + seconds:
            options = {"model": "m", "binary": binary, "restart": 20}
            with asking(record, options):
                for _ in range(KILLS):
                    kill_one(fake, record, chance)
                answers(record)
    return record.figure("a managed server", start)


def kill_one(fake: Fake, record: Record, chance: random.Random) -> None:
    """Kill the server at a random moment after it has answered something."""
    answers(record)
    time.sleep(0.5 * chance.random())
    pid = fake.starts[-1]["pid"]
    with record.kill():
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not runs(pid))


def answers(record: Record) -> None:
    """Wait for an answer more than those that were under way."""
    wanted = record.answered + 2 * ASKERS + 1
    if not wait_until(lambda: record.answered >= wanted, 60):
        record.wrong.append("no more answers within 60 s")


def connected(seconds: float) -> Figure:
    """A server that somebody else starts again, at once or a moment later."""
    start = time.monotonic()
    record, chance = Record(), random.Random(2)
    with fake_mlxcel() as fake:
        port = free_port()
        binary = fake.binary(TOKEN_SECONDS="0.005")

        def serve() -> subprocess.Popen[bytes]:
            place = ["--host", "127.0.0.1", "--port", str(port)]
            return subprocess.Popen(
                [binary, "serve", "-m", "m", *place],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

        server = serve()
        # What waits for a server that is away is sent again until it is back.
        options = {
            "base_url": f"http://127.0.0.1:{port}",
            "served_model": "m",
            "max_retries": 8,
        }
        with asking(record, options):
            while time.monotonic() < start + seconds:
                answers(record)
                time.sleep(0.5 * chance.random())
                with record.kill():
                    server.kill()
                    server.wait()
                time.sleep(0.3 * chance.random())
                server = serve()
            answers(record)
        server.kill()
        server.wait()
    return record.figure("a server of somebody else", start)
