"""What a client does for each piece of a stream, and for a short request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.benchmarks.clients import FLOORS, PIECES, Client, clients
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians
from tests.benchmarks.serving import Firehose, served

__all__ = ["PARTS"]

AT_ONCE = 16
REQUESTS = 50
"""How many are asked in a turn."""


def streaming(rounds: int, peers: bool) -> dict[str, float]:
    return per_piece(rounds, peers, lambda client, runner: client.stream())


def async_streaming(rounds: int, peers: bool) -> dict[str, float]:
    return per_piece(rounds, peers, lambda client, runner: runner.run(client.astream()))


def many_streams(rounds: int, peers: bool) -> dict[str, float]:
    async def together(client: Client) -> float:
        counts = await asyncio.gather(*(client.astream() for _ in range(AT_ONCE)))
        return sum(counts) / AT_ONCE

    times = per_piece(rounds, peers, lambda client, runner: runner.run(together(client)))
    return {name: seconds / AT_ONCE for name, seconds in times.items()}


def per_piece(
    rounds: int, peers: bool, ask: Callable[[Client, asyncio.Runner], float]
) -> dict[str, float]:
    """Return the seconds that each client takes for a piece."""

    def work(client: Client) -> Work:
        def read() -> None:
            if ask(client, runner) < PIECES:
                raise ValueError("Pieces of the stream are missing.")

        return read

    with served(Firehose, PIECES) as url, asyncio.Runner() as runner:
        everyone = {name: work(client) for name, client in clients(url, peers=peers).items()}
        times = medians(everyone, rounds)
    return {name: seconds / PIECES for name, seconds in times.items()}


def requests(rounds: int, peers: bool) -> dict[str, float]:
    with served(Firehose, 2) as url:
        everyone = {name: client.ask for name, client in clients(url, peers=peers).items()}
        return medians(everyone, rounds, repeat=REQUESTS)


US_PER_PIECE = "µs a piece"
STREAM_LIMITS = {"`LLM`": 2.5, "`ChatMlxcel`": 1.4, "`Mlxcel`": 1.5}
REQUEST_LIMITS = {"`LLM`": 1.8, "`ChatMlxcel`": 1.6, "`Mlxcel`": 1.6}

PARTS = (
    Part("streaming", US_PER_PIECE, 1e6, streaming, FLOORS, STREAM_LIMITS),
    Part("async streaming", US_PER_PIECE, 1e6, async_streaming, FLOORS, STREAM_LIMITS),
    Part("many streams", US_PER_PIECE, 1e6, many_streams, FLOORS, STREAM_LIMITS),
    Part("requests", "µs a request", 1e6, requests, FLOORS, REQUEST_LIMITS),
)
