"""The programs that ask, each in a process of its own: its memory and descriptors are its own.

Run as `python -m tests.soak.clients NAME URL COUNT`; prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from mlxcel_integrations import LLM, AsyncLLM
from mlxcel_integrations.langchain import ChatMlxcel

CROWD = 250
"""How many are cancelled at once: more than the pool has connections, so that some wait for one."""

PLACES = 200
"""How many connections a pool has."""


def verdict(question: str, ask: Callable[[str], str]) -> str:
    """Ask, and tell what came of it: "right", "wrong", or the name of the error."""
    try:
        return "right" if ask(question) == f"echo: {question}" else "wrong"
    except Exception as error:  # noqa: BLE001 - each is counted
        return type(error).__name__


async def read(pieces: AsyncIterator[Any]) -> str:
    return "".join([getattr(piece, "text", piece) async for piece in pieces])


async def averdict(question: str, pieces: AsyncIterator[Any]) -> str:
    try:
        return "right" if await read(pieces) == f"echo: {question}" else "wrong"
    except Exception as error:  # noqa: BLE001 - each is counted
        return type(error).__name__


# --------------------------------------------------------------------------- streams


def streams(url: str, count: int) -> dict[str, Any]:
    """Read so many streams at once with 256 descriptors, in tasks and then in threads."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    async def tasks() -> Counter[str]:
        async with AsyncLLM(base_url=url, served_model="fake-model") as llm:
            questions = [f"task {number}" for number in range(count)]
            asked = [averdict(question, llm.chat_stream(question)) for question in questions]
            return Counter(await asyncio.gather(*asked))

    def threads() -> Counter[str]:
        with LLM(base_url=url, served_model="fake-model") as llm, ThreadPoolExecutor(count) as pool:
            barrier = threading.Barrier(count)

            def ask(question: str) -> str:
                barrier.wait()
                return "".join(llm.chat_stream(question))

            questions = [f"thread {number}" for number in range(count)]
            return Counter(pool.map(lambda question: verdict(question, ask), questions))

    return {"tasks": asyncio.run(tasks()), "threads": threads()}


# --------------------------------------------------------------------------- cancelled requests


def cancels(url: str, count: int) -> dict[str, Any]:
    """Give up so many requests, half of them in tasks, and ask as many as the pool has places."""
    before = psutil.Process().num_fds()
    chance = random.Random(count)
    ends = Counter(asyncio.run(cancel(url, count // 2, chance)))
    ends.update(leave(url, count - count // 2, chance))
    return {**ends, "descriptors": psutil.Process().num_fds() - before}


async def cancel(url: str, count: int, chance: random.Random) -> dict[str, int]:
    """Cancel tasks while they connect, wait for a connection or an answer, or read."""
    cancelled = 0
    async with AsyncLLM(base_url=url, served_model="fake-model") as llm:
        while cancelled < count:
            crowd = min(CROWD, count - cancelled)
            ends = await asyncio.gather(*[cancel_one(llm, chance) for _ in range(crowd)])
            cancelled += sum(ends)
        left = await in_use(llm)
        after = [averdict("after", llm.chat_stream("after")) for _ in range(PLACES)]
        answered = Counter(await asyncio.gather(*after))["right"]
    return {"cancelled": cancelled, "in use": left, "answered": answered}


async def cancel_one(llm: AsyncLLM, chance: random.Random) -> bool:
    """Cancel a request at a random moment; False if it was answered before."""
    task = asyncio.ensure_future(read(llm.chat_stream("a b c d e f")))
    if chance.random() < 0.5:
        # Between two turns of the loop all steps of connecting are met.
        for _ in range(chance.randrange(80)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(0.4 * chance.random())
    task.cancel()
    return isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)


async def in_use(llm: AsyncLLM) -> int:
    """Return how many connections the pool takes for busy when nobody asks for anything."""
    await asyncio.sleep(0.1)
    transport: Any = await llm._driver._pool.transport(llm._connection.endpoint)
    busy = [one for one in transport._pool.connections if not (one.is_idle() or one.is_closed())]
    return len(busy)


def leave(url: str, count: int, chance: random.Random) -> dict[str, int]:
    """Leave streams after a random number of pieces, in 32 threads."""
    with LLM(base_url=url, served_model="fake-model") as llm, ThreadPoolExecutor(32) as pool:

        def leave_one(pieces: int) -> None:
            stream: Any = llm.chat_stream("a b c d e f")
            for _ in range(pieces):
                next(stream)
            stream.close()

        list(pool.map(leave_one, [chance.randrange(1, 5) for _ in range(count)]))
        transport: Any = llm._driver._pool.transport(llm._connection.endpoint)
        left = sum(not (one.is_idle() or one.is_closed()) for one in transport._pool.connections)
        with ThreadPoolExecutor(PLACES) as askers:
            asked = askers.map(lambda text: verdict(text, llm.chat), ["after"] * PLACES)
            answered = Counter(asked)["right"]
    return {"cancelled": count, "in use": left, "answered": answered}


# --------------------------------------------------------------------------- a slow reader


def slow(url: str, megabytes: int) -> dict[str, Any]:
    """Read an answer that is sent faster than it is read, and tell how the memory has grown."""
    with LLM(base_url=url, served_model="fake-model") as llm:
        pieces = llm.chat_stream("hi")
        sizes = list(resident(pieces))
    return {"megabytes": megabytes, "growth": max(sizes) - sizes[0], "samples": len(sizes)}


def resident(pieces: Iterator[str]) -> Iterator[int]:
    """Read with pauses, and yield the size of this process at each."""
    process = psutil.Process()
    for number, _ in enumerate(pieces):
        if number % 10_000 == 9_999:
            time.sleep(0.02)
            yield process.memory_info().rss


# --------------------------------------------------------------------------- one object


def together(url: str, rounds: int) -> dict[str, Any]:
    """Use one object in 64 threads and 64 tasks at once, so many times."""
    chat = ChatMlxcel(base_url=url, served_model="fake-model")
    ends: Counter[str] = Counter()

    def ask(number: int) -> Counter[str]:
        asked = (lambda text: chat.invoke(text).text, lambda text: joined(chat.stream(text)))
        name = f"thread {number}"
        return Counter(verdict(f"{name} {turn}", asked[turn % 2]) for turn in range(2 * rounds))

    async def aask(number: int) -> Counter[str]:
        name = f"task {number}"
        return Counter(
            [
                await averdict(f"{name} {turn}", chat.astream(f"{name} {turn}"))
                for turn in range(2 * rounds)
            ]
        )

    async def all_of_both() -> list[Counter[str]]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(64) as pool:
            threads = [loop.run_in_executor(pool, ask, number) for number in range(64)]
            return await asyncio.gather(*threads, *map(aask, range(64)))

    for found in asyncio.run(all_of_both()):
        ends.update(found)
    chat.close()
    return dict(ends)


def joined(pieces: Iterator[Any]) -> str:
    return "".join(piece.text for piece in pieces)


PROGRAMS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "streams": streams,
    "cancels": cancels,
    "slow": slow,
    "together": together,
}

if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
