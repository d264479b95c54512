"""How long many chats take on a server with few slots, whose tokens come at fixed times."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import httpx
from langchain_core.language_models import BaseChatModel, LanguageModelInput

from tests.benchmarks.clients import Httpx, LangChain, clients
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians
from tests.benchmarks.serving import served
from tests.fakes.server import FakeServer

__all__ = ["PARTS"]

SLOTS = (2, 4, 8)
CHATS = 50
"""Chats for each slot."""

TOKEN_SECONDS = 0.005
MAX_ROUNDS = 3
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


def abatch(llm: BaseChatModel, slots: int) -> Work:
    questions: list[LanguageModelInput] = [QUESTION for _ in range(CHATS * slots)]
    return lambda: asyncio.run(llm.abatch(questions))


def batch(llm: BaseChatModel, slots: int) -> Work:
    questions: list[LanguageModelInput] = [QUESTION for _ in range(CHATS * slots)]
    return lambda: llm.batch(questions)


def ways(url: str, slots: int) -> dict[str, Work]:
    """Return the ways of asking many questions."""
    client = clients(url, peers=False)["`ChatMlxcel`"]
    assert isinstance(client, LangChain)
    ours = client.model
    return {
        FLOOR: by_hand(url, slots),
        OURS[0]: abatch(ours, slots),
        OURS[1]: batch(ours, slots),
    }


def measure(rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds of each way.

    Args:
        rounds: How often each has its turn.
        peers: Nothing here: the others do not stream whole answers, whose tokens a server of the
            tests sends with fewer pauses.
    """
    with ExitStack() as servers:
        works: dict[str, Work] = {}
        for slots in SLOTS:
            url = servers.enter_context(served(SteadyServer, slots))
            httpx.get(f"{url}/health")
            found = ways(url, slots)
            works |= {f"{name}, {slots} slots": work for name, work in found.items()}
        return medians(works, min(rounds, MAX_ROUNDS), clock=time.perf_counter)


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
