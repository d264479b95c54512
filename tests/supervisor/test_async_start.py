"""Starting from an event loop: never blocked, and nothing left of a start that is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mlxcel_integrations import AsyncLLM, MlxcelServerError, MlxcelStreamError, MlxcelTimeoutError
from tests.fakes.server import FakeServer

from .conftest import Fake
from .test_programs import program


@contextlib.asynccontextmanager
async def ticks() -> AsyncIterator[list[float]]:
    """Collect how long the loop took for each of many short sleeps, in seconds."""
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            gaps.append(time.monotonic() - began)

    task = asyncio.create_task(tick())
    yield gaps
    task.cancel()


async def started(fake: Fake) -> None:
    await asyncio.to_thread(fake.wait_for_start)


async def test_the_loop_goes_on_while_a_server_starts(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="0.3"))
    async with ticks() as usual:
        await asyncio.sleep(0.3)

    async with ticks() as gaps:
        await server.astart()
        assert server is await server.astart()

    # A busy machine takes the processor away now and then; a blocked loop is one long gap.
    busy = max(usual)
    assert sorted(gaps)[-3] < 0.02 + busy
    assert max(gaps) < 0.15 + 2 * busy


IMPORTS_IN_THE_LOOP = """
import asyncio, sys, threading
from {package} import {client}

class Noted:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            names.add(name)

def told(what):
    ours = ("mlxcel_integrations", "httpx", "httpcore", "h11", "anyio", "ssl", "psutil")
    print(what, sorted(name for name in names if name.startswith(ours)))

async def main():
    model = {client}(**{options})
    told("constructor")
    await model.{use}
    told("first use")

names = set()
sys.meta_path.insert(0, Noted())
asyncio.run(main())
"""


CORE = "mlxcel_integrations.AsyncLLM", "chat('hi')"


@pytest.mark.parametrize(
    ("name", "use", "options"),
    [
        (*CORE, {}),
        (*CORE, {"host": "127.0.0.1"}),
        (*CORE, {"share": "user", "keep_alive": 0}),
        (*CORE, {"model": "file.gguf"}),
        (*CORE, {"base_url": "a running server"}),
        ("mlxcel_integrations.langchain.ChatMlxcel", "ainvoke('hi')", {}),
    ],
)
def test_nothing_is_imported_in_the_loop(
    name: str, use: str, options: dict[str, Any], fake: Fake
) -> None:
    """It would hold up the loop for as long as that takes: what a use needs, threads import."""
    package, _, client = name.rpartition(".")
    with FakeServer() as server:
        given = {"model": "m", "binary": fake.binary(), **options}
        if "base_url" in options:
            given = {"base_url": server.url}
        code = IMPORTS_IN_THE_LOOP.format(package=package, client=client, options=given, use=use)
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ("constructor []\nfirst use []\n", "") == (done.stdout, done.stderr)


SLOW_END = {"IGNORE_SIGTERM": "1"}
"""Makes an end take the whole grace."""


@pytest.mark.parametrize("share", ["process", "user"])
@pytest.mark.parametrize("drop", ["reference", "cycle"])
async def test_the_loop_goes_on_when_the_last_reference_is_dropped(
    drop: str, share: str, fake: Fake
) -> None:
    # What other tests have left would take the collector long.
    gc.freeze()
    keep = {"keep_alive": 0} if share == "user" else {}
    binary = fake.binary(**SLOW_END)
    llm: Any = AsyncLLM("m", binary=binary, share=share, shutdown_grace=1, **keep)
    await llm.start()
    if drop == "cycle":
        llm.itself = llm

    async with ticks() as gaps:
        await asyncio.sleep(0.05)
        del llm
        if drop == "cycle":
            gc.collect()
        await asyncio.sleep(0.05)

    assert fake.running
    assert max(gaps) < 0.5
    await asyncio.to_thread(fake.wait_for_nothing, 10)


@pytest.mark.parametrize("share", ["process", "user"])
def test_an_end_that_was_handed_over_is_over_before_the_program(share: str, fake: Fake) -> None:
    keep = ", keep_alive=0" if share == "user" else ""
    body = f"""
llm = LLM("m", binary=binary, share={share!r}, shutdown_grace=1{keep}).start()
say("ready")
del llm
say("ends")
"""
    with program(body, fake.binary(**SLOW_END)) as owner:
        assert owner.stdout is not None
        assert "ready\n" == owner.stdout.readline()
        assert "ends\n" == owner.stdout.readline()
        began = time.monotonic()
        _, error = owner.communicate(timeout=20)

        assert (0, "") == (owner.returncode, error)
        assert 0.8 < time.monotonic() - began
        assert ([], []) == (fake.running, fake.directories)


async def test_two_tasks_start_one_process(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="0.1"))

    await asyncio.gather(server.astart(), server.astart(), asyncio.to_thread(server.start))

    assert [server.pid] == fake.running
    assert 1 == len(fake.starts)


async def test_a_cancelled_start_leaves_nothing(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="60"))
    task = asyncio.create_task(server.astart())
    await started(fake)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    fake.wait_for_nothing()


async def test_a_start_cancelled_at_once_leaves_nothing(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="60"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await server.astart()

    server.close()
    assert ([], []) == (fake.running, fake.directories)


async def test_after_a_cancelled_start_comes_a_new_one(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="0.3"))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await server.astart()

    await server.astart()

    assert [server.pid] == fake.running
    assert 1 == len(fake.directories)


async def test_one_that_is_cancelled_does_not_end_the_start_for_others(fake: Fake) -> None:
    server = fake.server(fake.binary(LOAD_SECONDS="0.3"))
    first, second = (asyncio.create_task(server.astart()) for _ in range(2))
    await started(fake)

    first.cancel()
    await second

    assert first.cancelled()
    assert [server.pid] == fake.running
    assert 1 == len(fake.starts)


async def test_a_start_that_fails_tells_why(fake: Fake) -> None:
    with pytest.raises(MlxcelServerError, match="Error: boom"):
        await fake.server(fake.binary(FAIL="boom")).astart()
    with pytest.raises(MlxcelTimeoutError, match=r"not ready within 0\.2 s"):
        await fake.server(fake.binary(WEIGHTS_FAIL="1"), startup_timeout=0.2).astart()


async def test_an_async_client_starts_and_stops_its_server(fake: Fake) -> None:
    async with AsyncLLM("m", binary=fake.binary()) as llm:
        answers = await asyncio.gather(*(llm.chat(str(n)) for n in range(8)))
        assert [f"echo: {n}" for n in range(8)] == answers
        assert 1 == len(fake.running)
    assert ([], []) == (fake.running, fake.directories)


async def test_first_use_starts_the_server_once(fake: Fake) -> None:
    llm = AsyncLLM("m", binary=fake.binary())

    answers = await asyncio.gather(*(llm.chat(str(n)) for n in range(8)))
    await llm.close()

    assert [f"echo: {n}" for n in range(8)] == answers
    assert 1 == len(fake.starts)


def test_one_object_in_several_loops_uses_one_server(fake: Fake) -> None:
    llm = AsyncLLM("m", binary=fake.binary())

    for _ in range(3):
        assert "echo: hi" == asyncio.run(llm.chat("hi"))
    asyncio.run(llm.close())

    assert 1 == len(fake.starts)


async def test_a_server_killed_inside_an_answer_is_told_and_started_again(fake: Fake) -> None:
    async with AsyncLLM("m", binary=fake.binary(CRASH_AFTER="1")) as llm:
        await llm.chat("warm up")
        with pytest.raises(MlxcelStreamError, match=r"signal 9 \(SIGKILL") as caught:
            await llm.chat("a b c d e f")

        assert caught.value.partial.startswith("echo: a")
        assert "  | " in str(caught.value)
        assert "mlxcel: listening on" in caught.value.stderr
        assert "echo: again" == await llm.chat("again")
