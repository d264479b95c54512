"""How long many chats take on a server with few slots, whose tokens come at fixed times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack

import httpx

from mlxcel_integrations.langchain import ChatMlxcel
from tests.benchmarks.clients import Httpx
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians
from tests.benchmarks.serving import served
from tests.fakes.server import FakeServer

__all__ = ["PARTS"]

SLOTS = (2, 4, 8)
CHATS = 50
"""Chats for each slot."""

TOKEN_SECONDS = 0.005
MOST_ROUNDS = 3
QUESTION = "How are you?"

FLOOR = "asyncio and httpx"
OURS = "`ChatMlxcel.abatch`", "`ChatMlxcel.batch`"


class SteadyServer(FakeServer):
    """Answers with one token after the other.

    Args:
        slots: How many chats at once.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(slots=slots, models=[{"id": "m"}])
        self.token_seconds = TOKEN_SECONDS


def by_hand(url: str, slots: int) -> Work:
    """What a user would write: as many tasks as there are slots, each with one chat at a time."""

    async def ask_all() -> None:
        client = Httpx(url, QUESTION, stream_options={"include_usage": True})
        left = iter(range(CHATS * slots))

        async def ask_next() -> None:
            for _ in left:
                await client.astream()

        async with client.async_client, asyncio.TaskGroup() as tasks:
            for _ in range(slots):
                tasks.create_task(ask_next())

    return lambda: asyncio.run(ask_all())


def abatch(url: str, slots: int) -> Work:
    questions = [QUESTION] * CHATS * slots
    llm = ChatMlxcel(base_url=url)
    return lambda: asyncio.run(llm.abatch(questions))


def batch(url: str, slots: int) -> Work:
    questions = [QUESTION] * CHATS * slots
    llm = ChatMlxcel(base_url=url)
    return lambda: llm.batch(questions)


def measure(rounds: int, peers: bool) -> dict[str, float]:
    ways: dict[str, Callable[[str, int], Work]] = {FLOOR: by_hand, OURS[0]: abatch, OURS[1]: batch}
    with ExitStack() as servers:
        clients: dict[str, Work] = {}
        for slots in SLOTS:
            url = servers.enter_context(served(SteadyServer, slots))
            httpx.get(f"{url}/health")
            clients |= {f"{name}, {slots} slots": way(url, slots) for name, way in ways.items()}
        return medians(clients, min(rounds, MOST_ROUNDS), clock=time.perf_counter)


PARTS = [
    Part(
        "batches",
        "s",
        1,
        measure,
        {
            f"{name}, {slots} slots": (f"{FLOOR}, {slots} slots",)
            for name in OURS
            for slots in SLOTS
        },
    )
]
