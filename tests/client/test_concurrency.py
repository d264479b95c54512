"""Many threads, tasks, event loops and processes with one object."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelStreamError
from tests import WARNINGS_ARE_ERRORS
from tests.fakes.server import FakeServer, Reply

MANY = 64
ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
ON_A_SOCKET = pytest.mark.parametrize("place", ["unix"], indirect=True)


def test_one_connection_serves_sequential_calls(client: Any, server: FakeServer) -> None:
    for number in range(4):
        assert f"echo: {number}" == client.chat(f"{number}")
        assert ["echo:", f" {number}"] == client.chat_stream(f"{number}")
        assert f"echo: {number}" == client.generate(f"{number}")
        assert f"{number}" == client.detokenize(client.tokenize(f"{number}"))

    assert (1, 21) == (server.connections, len(server.requests))


def test_errors_do_not_cost_the_connection(connect: Any, server: FakeServer) -> None:
    """Except a body of unknown length that is not an answer: it is not read to its end."""
    server.script(*[Reply.error(503, "busy", headers={"retry-after": "0"})] * 2)
    server.script(Reply.plain(200, "no stream"))
    client = connect(served_model="fake-model")

    with pytest.raises(MlxcelStreamError, match="instead of a stream"):
        client.chat("hi")
    assert 1 == server.connections
    assert "echo: hi" == client.chat("hi")
    assert (2, 4) == (server.connections, len(server.requests))


def test_a_restarted_server_is_found_again(connect: Any, server: FakeServer) -> None:
    client = connect(max_retries=0)
    client.chat("hi")
    server.stop()

    with FakeServer(socket=server.socket, port=server.port or 0):
        assert "echo: again" == client.chat("again")


def test_threads_do_not_mix_their_answers(server: FakeServer) -> None:
    with LLM(base_url=server.url) as llm, ThreadPoolExecutor(MANY) as pool:
        barrier = threading.Barrier(MANY)

        def work(number: int) -> list[str]:
            barrier.wait()
            text = f"thread {number}"
            return [llm.chat(text), "".join(llm.stream(text)), llm.detokenize(llm.tokenize(text))]

        found = list(pool.map(work, range(MANY)))

    assert [[f"echo: thread {n}", f"echo: thread {n}", f"thread {n}"] for n in range(MANY)] == found


@ON_TCP
async def test_tasks_do_not_mix_their_answers(server: FakeServer) -> None:
    async def work(llm: AsyncLLM, number: int) -> list[str]:
        text = f"task {number}"
        pieces = [piece async for piece in llm.stream(text)]
        return [await llm.chat(text), "".join(pieces)]

    async with AsyncLLM(base_url=server.url) as llm:
        found = await asyncio.gather(*[work(llm, number) for number in range(MANY)])

    assert [[f"echo: task {n}"] * 2 for n in range(MANY)] == found


def wait_for_most_to_close(server: FakeServer) -> None:
    end = time.monotonic() + 5
    while server.open_connections > 32 and time.monotonic() < end:
        time.sleep(0.01)


@ON_TCP
async def test_most_connections_of_a_rush_are_closed_again(server: FakeServer) -> None:
    """The pool of httpcore looks at all pairs of idle ones with each request."""
    server.script(*[Reply.text("slow", first_delay=0.5)] * 100)
    async with AsyncLLM(base_url=server.url, served_model="fake-model") as llm:
        await asyncio.gather(*[llm.chat("hi") for _ in range(100)])
        await asyncio.to_thread(wait_for_most_to_close, server)

        assert 100 <= server.connections
        assert 0 < server.open_connections <= 32


@ON_TCP
async def test_a_slow_answer_does_not_hold_up_the_loop(server: FakeServer) -> None:
    server.script(Reply.text("slow", first_delay=0.3))
    async with AsyncLLM(base_url=server.url, served_model="fake-model") as llm:
        slow = asyncio.ensure_future(llm.chat("hi"))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        await llm.chat("hi")

        assert time.monotonic() - start < 0.15
        assert not slow.done()
        assert "slow" == await slow


def test_one_object_serves_loops_one_after_the_other(server: FakeServer) -> None:
    llm = AsyncLLM(base_url=server.url)
    for number in range(20):
        assert f"echo: {number}" == asyncio.run(llm.chat(f"{number}"))
    gc.collect()

    end = time.monotonic() + 1
    while server.open_connections and time.monotonic() < end:
        time.sleep(0.005)
    assert 0 == server.open_connections


def test_one_object_serves_loops_at_once(server: FakeServer) -> None:
    llm = AsyncLLM(base_url=server.url)

    async def work(number: int) -> list[str]:
        return [await llm.chat(f"{number} {turn}") for turn in range(5)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: asyncio.run(work(number)), range(8)))

    assert [[f"echo: {n} {turn}" for turn in range(5)] for n in range(8)] == found


FORKS = {
    "sync": """
import os, sys
from mlxcel_integrations import LLM

llm = LLM(base_url=sys.argv[1])
assert "echo: before" == llm.chat("before")
stream = llm.chat_stream("a b c")
assert "echo:" == next(stream)
child = os.fork()
name = "parent" if child else "child"
for number in range(20):
    assert f"echo: {name} {number}" == llm.chat(f"{name} {number}")
if not child:
    sys.exit()
assert " a b c" == "".join(stream)
assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
llm.close()
""",
    "async": """
import asyncio, os, sys
from mlxcel_integrations import AsyncLLM

llm = AsyncLLM(base_url=sys.argv[1])
assert "echo: before" == asyncio.run(llm.chat("before"))
child = os.fork()
name = "parent" if child else "child"
async def work():
    for number in range(20):
        assert f"echo: {name} {number}" == await llm.chat(f"{name} {number}")
asyncio.run(work())
if child:
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
""",
}


@ON_A_SOCKET
def test_a_forked_child_has_connections_of_its_own(server: FakeServer, shell: str) -> None:
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", FORKS[shell], server.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
