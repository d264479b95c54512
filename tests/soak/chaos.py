"""Chaos on the real engine: owners, brokers, guards and servers are killed and stopped. Linux only.

Three programs ask the engine, over and over; one of them shares it in tasks, one in threads, and
one has its own. Each failure must be of a class of ours, no request may hang, and asyncio must log
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import psutil

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError
from tests import WARNINGS_ARE_ERRORS
from tests.faults.measurements import Figure, fake_mlxcel
from tests.soak.kills import running_in
from tests.supervisor.conftest import wait_until

__all__ = ["chaos"]

ROOT = Path(__file__).parents[2]
HANGS = 240.0
"""Seconds without a word from a program after which a request hangs: more than all limits."""

LIMITS: dict[str, Any] = {"startup_timeout": 60, "timeout": 60, "shutdown_grace": 0.5}
SHARED: dict[str, Any] = {"share": "user", "keep_alive": 1}


def chaos(seconds: float) -> Figure:
    """Kill and stop processes for so long, then end the programs and look at what is left."""
    start = time.monotonic()
    chance = random.Random(3)
    told: Counter[str] = Counter()
    with fake_mlxcel() as fake:
        askers = [Asker(kind, told) for kind in ("own", "threads", "tasks")]
        try:
            while time.monotonic() < start + seconds:
                time.sleep(chance.uniform(0.1, 2.0))
                strike(askers, str(fake.runtime), chance, told)
                told.update("a program that says nothing" for one in askers if one.hangs())
        finally:
            ended = [one.end() for one in askers]
        wait_until(lambda: not running_in(str(fake.runtime), os.getpgid(0)), 30)
        left = [str(one) for one in running_in(str(fake.runtime), os.getpgid(0))]
        # What was killed with its guard leaves a directory to the next start.
        with LLM("embedded", **LIMITS):
            pass
        files = [str(path) for path in fake.runtime.rglob("*")]
    right = {"answered", "an error of ours", *(name for name in told if name.startswith("- "))}
    wrong = [name for name in told if name not in right]
    wrong += ["a program that did not end"] * ended.count(False)
    return Figure(
        "chaos on the engine",
        f"{dict(told)}, {len(left)} processes and {len(files)} files left, "
        f"in {time.monotonic() - start:.0f} s",
        "0 wrong, 0 left",
        told["answered"] > 0 and not (wrong or left or files),
        tuple((wrong + left + files)[:20]),
    )


def strike(askers: list[Asker], runtime: str, chance: random.Random, told: Counter[str]) -> None:
    """Kill one process, or stop it for some seconds."""
    asker = chance.choice(askers)
    others = running_in(runtime, os.getpgid(0))
    victim = asker.process if chance.random() < 0.2 or not others else chance.choice(others)
    with contextlib.suppress(psutil.Error):
        if chance.random() < 0.5:
            victim.kill()
            told["- killed"] += 1
        else:
            victim.suspend()
            threading.Timer(chance.uniform(0, 4), resume, (victim,)).start()
            told["- stopped"] += 1
    for one in askers:
        one.begin_again()


def resume(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.resume()


class Asker:
    """A program that asks, begun again when it was killed.

    Args:
        kind: How it asks.
        told: Counts what it tells.
    """

    def __init__(self, kind: str, told: Counter[str]) -> None:
        self._kind = kind
        self._told = told
        self._begin()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._program.pid)

    def _begin(self) -> None:
        self._heard = time.monotonic()
        self._program = subprocess.Popen(
            [sys.executable, *WARNINGS_ARE_ERRORS, "-m", "tests.soak.chaos", self._kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._reader = threading.Thread(target=self._listen, args=(self._program,), daemon=True)
        self._reader.start()

    def _listen(self, program: subprocess.Popen[str]) -> None:
        assert program.stdout is not None
        for line in program.stdout:
            self._heard = time.monotonic()
            # A line that is cut is that of a program that was killed.
            with contextlib.suppress(ValueError):
                self._told[json.loads(line)] += 1

    def begin_again(self) -> None:
        """Begin again if it was killed."""
        if self._program.poll() is None:
            return
        if self._program.returncode != -signal.SIGKILL:
            self._told[f"a program that ended with {self._program.returncode}"] += 1
        self._close()
        self._begin()

    def hangs(self) -> bool:
        """Return whether it has said nothing for too long, and kill it then."""
        silent = time.monotonic() > self._heard + HANGS
        if silent:
            self._program.kill()
        return silent

    def end(self) -> bool:
        """Ask it to end; return whether it did."""
        resume(self.process)
        self._program.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        try:
            self._program.wait(HANGS)
            return True
        except subprocess.TimeoutExpired:
            self._program.kill()
            return False
        finally:
            self._close()

    def _close(self) -> None:
        self._program.wait()
        self._reader.join()
        for pipe in (self._program.stdin, self._program.stdout):
            assert pipe is not None
            pipe.close()


# --------------------------------------------------------------------------- the programs


class Telling(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(f"asyncio logged {record.getMessage()[:300]}")


def tell(what: str) -> None:
    print(json.dumps(what), flush=True)


def outcome_of(error: BaseException) -> str:
    if isinstance(error, MlxcelError | openai.APIError):
        return "an error of ours"
    return f"{type(error).__name__}: {error}"


QUESTION: dict[str, Any] = {"prompt": "The capital of France is", "max_tokens": 12}


def ask(ended: threading.Event, **options: Any) -> None:
    """Ask in threads until the end; each client answers a few times."""

    def few(llm: LLM) -> None:
        for _ in range(5):
            try:
                tell("answered" if llm.generate(**QUESTION) else "an empty answer")
            except Exception as error:  # noqa: BLE001 - each is looked at
                tell(outcome_of(error))

    while not ended.is_set():
        try:
            with LLM("embedded", **options, **LIMITS) as llm:
                threads = [threading.Thread(target=few, args=(llm,)) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        except Exception as error:  # noqa: BLE001 - each is looked at
            tell(outcome_of(error))


async def aask(ended: threading.Event, **options: Any) -> None:
    """Ask in tasks until the end; some of them are cancelled."""

    async def few(llm: AsyncLLM) -> None:
        for seconds in (60, 60, 0.1, 60):
            try:
                async with asyncio.timeout(seconds):
                    tell("answered" if await llm.generate(**QUESTION) else "an empty answer")
            except TimeoutError:
                # As a start may take this long, too.
                pass
            except Exception as error:  # noqa: BLE001 - each is looked at
                tell(outcome_of(error))

    while not ended.is_set():
        try:
            async with AsyncLLM("embedded", **options, **LIMITS) as llm:
                await asyncio.gather(few(llm), few(llm))
        except Exception as error:  # noqa: BLE001 - each is looked at
            tell(outcome_of(error))


def main(kind: str) -> None:
    logging.getLogger("asyncio").addHandler(Telling())
    # A slow machine is no error.
    warnings.filterwarnings("ignore", category=UserWarning)
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    if kind == "tasks":
        asyncio.run(aask(ended, **SHARED), debug=False)
    else:
        ask(ended, **(SHARED if kind == "threads" else {}))


if __name__ == "__main__":
    main(sys.argv[1])
