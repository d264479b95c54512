"""How long it takes to count the tokens of short texts on the embedded engine."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import httpx

from mlxcel_integrations import LLM, ManagedServer
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians

__all__ = ["AT_ONCE", "ONE_BY_ONE", "PARTS", "counting"]

COUNT = 1000
WORDS = ["the", "quick", "fox", "jumps", "over", "a", "lazy", "dog", "and", "looks", "for", "data"]

FLOOR = "httpx, one request each"
ONE_BY_ONE = "`LLM.count_tokens`, one by one"
AT_ONCE = "`LLM.count_tokens`, all at once"


def counting(rounds: int, peers: bool = False, count: int = COUNT) -> dict[str, float]:
    """Return the seconds that each way of counting takes for a text.

    Args:
        rounds: How often each has its turn.
        peers: Nothing here; other clients do not count with the model's tokens.
        count: How many texts there are.
    """
    fresh = texts(count)

    def one_by_one(count_one: Callable[[str], object]) -> Work:
        def work() -> None:
            for text in next(fresh):
                count_one(text)

        return work

    with (
        ManagedServer("embedded", host="127.0.0.1") as server,
        httpx.Client(base_url=server.base_url.removesuffix("/v1")) as client,
        LLM(base_url=server.base_url) as llm,
    ):
        ways = {
            FLOOR: one_by_one(lambda text: client.post("/tokenize", json={"content": text})),
            ONE_BY_ONE: one_by_one(llm.count_tokens),
            AT_ONCE: lambda: llm.count_tokens(next(fresh)),
        }
        times = medians(ways, rounds, clock=time.perf_counter)
    return {name: seconds / count for name, seconds in times.items()}


def texts(count: int) -> Iterator[list[str]]:
    """Yield lists of short sentences without end; none comes twice, as counts are remembered."""
    numbers = random.Random(count)
    while True:
        yield [f"{' '.join(numbers.choices(WORDS, k=8))} {numbers.random()}" for _ in range(count)]


PARTS = (
    Part("token counts", "µs a text", 1e6, counting, {ONE_BY_ONE: (FLOOR,), AT_ONCE: (FLOOR,)}),
)
