"""Latencies: from an end to its error, from ready to the first byte, and of the event loop."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer
from tests.faults.measurements import Figure, fake_mlxcel, milliseconds, noted
from tests.supervisor.conftest import Fake

ROOT = Path(__file__).parents[2]

# --------------------------------------------------------------------------- exit to error


def exit_to_error(count: int) -> Iterator[Figure]:
    """From the end of the server to the error that tells of it, for sync and async callers."""
    first = float(run("from tests.faults.latencies import first_end; print(first_end())"))
    name = "server's end to the first error of openai in a program, which imports it"
    yield Figure(name, f"{first * 1000:.0f} ms")
    importlib.import_module("openai")
    for name, case in {
        "during a start": end_in_start,
        "before an answer": end_before_answer,
        "during a stream": end_in_stream,
    }.items():
        took = []
        for n in range(count):
            with fake_mlxcel() as fake:
                took.append(case(fake, asynchronous=bool(n % 2)))
        yield Figure(
            f"server's end {name} to error raised", milliseconds(took), "< 100 ms", max(took) < 0.1
        )


def first_end() -> float:
    with fake_mlxcel() as fake:
        return end_before_answer(fake, asynchronous=False)


def end_in_start(fake: Fake, asynchronous: bool) -> float:
    times = fake.runtime.parent / "times"
    binary = fake.binary(EXIT_CODE="3", LOAD_SECONDS=str(random.uniform(0, 0.3)), TIMES=str(times))

    async def astart() -> float:
        return await atime_of_error(AsyncLLM("m", binary=binary).start())

    raised = (
        asyncio.run(astart())
        if asynchronous
        else time_of_error(ManagedServer("m", binary=binary).start)
    )
    return raised - noted(times)["end"]


def end_in_stream(fake: Fake, asynchronous: bool) -> float:
    times = fake.runtime.parent / "times"
    binary = fake.binary(CRASH_AFTER="0", TIMES=str(times))
    return stream(binary, asynchronous) - noted(times)["end"]


def end_before_answer(fake: Fake, asynchronous: bool) -> float:
    """A server that is stopped takes a request in, and ends without a word."""
    binary = fake.binary()
    killed = 0.0

    def kill(pid: int) -> None:
        nonlocal killed
        time.sleep(0.1)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        threading.Thread(target=kill, args=(pid,)).start()

    raised = stream(binary, asynchronous, lambda: stop(fake.running[0]))
    return raised - killed


def stream(binary: str, asynchronous: bool, before: Callable[[], None] = lambda: None) -> float:
    """Start a server, read an answer, and return when the error came."""

    async def read(llm: AsyncLLM) -> list[str]:
        return [piece async for piece in llm.chat_stream("a b c d e f")]

    async def astream() -> float:
        async with AsyncLLM("m", binary=binary) as llm:
            before()
            return await atime_of_error(read(llm))

    if asynchronous:
        return asyncio.run(astream())
    with LLM("m", binary=binary) as llm:
        before()
        return time_of_error(lambda: list(llm.chat_stream("a b c d e f")))


async def atime_of_error(work: Awaitable[object]) -> float:
    try:
        await work
    except Exception:  # noqa: BLE001  which one is for other tests
        return time.monotonic()
    raise AssertionError("there was no error")


def time_of_error(work: Callable[[], object]) -> float:
    try:
        work()
    except Exception:  # noqa: BLE001  which one is for other tests
        return time.monotonic()
    raise AssertionError("there was no error")


# --------------------------------------------------------------------------- ready to first byte

# A program of its own each time: what the first request imports counts too.
ONE_CHAT = """
import json, sys
from mlxcel_integrations import LLM
llm = LLM("m", binary=sys.argv[1], **json.loads(sys.argv[2]))
llm.chat("hi")
llm.close()
"""


def ready_to_first_byte(count: int) -> Iterator[Figure]:
    """From the moment that a server is ready to the arrival of the first request at it."""
    cases: dict[str, dict[str, Any]] = {
        "a socket": {},
        "TCP": {"host": "127.0.0.1"},
        "a socket, busy until its weights are loaded": {"warmup": False},
    }
    for name, options in cases.items():
        took = [seconds_to_first_byte(**options) for _ in range(count)]
        yield Figure(
            f"ready on {name} to first byte of the first request",
            milliseconds(took),
            "median < 30 ms",
            statistics.median(took) < 0.03,
        )


def seconds_to_first_byte(**options: object) -> float:
    """Start a server in a new program, and return how long it was ready when a request came."""
    with fake_mlxcel() as fake:
        times = fake.runtime.parent / "times"
        seconds = str(random.uniform(0, 0.6))
        binary = fake.binary(LOAD_SECONDS=seconds, TIMES=str(times))
        run(ONE_CHAT, binary, json.dumps(options))
        at = noted(times)
        return at["POST /v1/chat/completions"] - at["ready"]


# --------------------------------------------------------------------------- loop block

LOOP = """
import asyncio, json, sys, time
{imports}

async def longest(work):
    gaps = []
    async def tick():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            gaps.append(time.monotonic() - began - 0.001)
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    gaps.clear()
    await work
    await asyncio.sleep(0.01)
    ticking.cancel()
    return max(gaps)

async def main():
    {before}
    began = time.monotonic()
    llm = {llm}
    constructor = time.monotonic() - began
    blocks = [await longest(work) for work in (asyncio.sleep(0.3), {works})]
    print(json.dumps([*blocks, constructor]))
    await llm.{close}()

asyncio.run(main())
"""

ASYNC_LLM = LOOP.format(
    imports="from mlxcel_integrations import AsyncLLM",
    before="",
    llm='AsyncLLM("m", binary=sys.argv[1])',
    works='llm.start(), llm.chat("hi")',
    close="close",
)
CHAT = LOOP.format(
    imports="""
from langchain_core.language_models import FakeListChatModel
from mlxcel_integrations.langchain import ChatMlxcel
""",
    # What LangChain imports with the first call of any model is not ours.
    before="""await FakeListChatModel(responses=["hi"]).ainvoke("hi")""",
    llm='ChatMlxcel(model="m", binary=sys.argv[1])',
    works='llm.ainvoke("hi")',
    close="aclose",
)


# A full collection takes 15 ms, and falls into any of the waits by chance.
UNCOLLECTED = "import gc; gc.disable()\n"


def loop_block(count: int) -> Iterator[Figure]:
    """The longest block of an event loop while a server starts, the first time in a program."""
    programs = {
        ASYNC_LLM: ("AsyncLLM.start()", "the first AsyncLLM.chat()"),
        CHAT: ("ChatMlxcel.ainvoke()",),
    }
    for program, names in programs.items():
        runs = []
        for _ in range(count):
            with fake_mlxcel() as fake:
                runs.append(json.loads(run(UNCOLLECTED + program, fake.binary(LOAD_SECONDS="0.2"))))
        idle, *blocks, constructor = zip(*runs, strict=True)
        for name, block in zip(names, blocks, strict=True):
            value = f"{milliseconds(block)} (while nothing happens: {milliseconds(idle)})"
            # A thread that imports holds the interpreter for as long as it may, longest with the
            # modules of the first request, and a busy machine holds up the loop by itself.
            longest = 0.04 if name.startswith("the first") else 0.005 + sys.getswitchinterval()
            ok = statistics.median(block) < max(longest, statistics.median(idle))
            yield Figure(
                f"block of the loop in {name}", value, f"median < {longest * 1e3:.0f} ms", ok
            )
        yield Figure("the first constructor, imports included", milliseconds(constructor))


def run(program: str, *arguments: str) -> str:
    """Run a program in a fresh interpreter and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True
    ).stdout
