"""What stop texts add to reading a streamed answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from mlxcel_integrations.protocol.answers.chat_streams import ChatStream
from tests.benchmarks.part import Part
from tests.benchmarks.rounds import Work, medians

__all__ = ["PARTS"]

PIECES = 4000
NONE = "no stop text"
MANY = [f" stop {number}" for number in range(100)]
PROSE = [" word", " by", " word", ","]
BEGINNINGS = [" st", "and", " stop", " and"]
"""Every second one may be the beginning of a stop text."""

WAYS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    NONE: ((), PROSE),
    "2 stop texts": (["\nObservation:", "\nHuman:"], PROSE),
    "2 stop texts, begun in every second piece": ([" stop here", " star"], BEGINNINGS),
    "100 stop texts, begun in every second piece": (MANY, BEGINNINGS),
}


def stops(rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds that a piece of an answer takes its reader."""
    ways: dict[str, Work] = {
        name: partial(read, texts, [event(piece) for piece in pieces])
        for name, (texts, pieces) in WAYS.items()
    }
    return {name: time / PIECES for name, time in medians(ways, rounds).items()}


def event(piece: str) -> bytes:
    choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "chatcmpl-1", "choices": [choice]}).encode() + b"\n\n"


def read(texts: Sequence[str], events: Sequence[bytes]) -> None:
    stream = ChatStream(texts)
    for _ in range(PIECES // len(events)):
        for one in events:
            stream.feed(one)
    if stream.done:
        raise ValueError("A stop text has come.")


FLOORS = {name: (NONE,) for name in WAYS if name != NONE}
PARTS = (Part("stop texts", "ns a piece", 1e9, stops, FLOORS, dict.fromkeys(FLOORS, 1.5)),)
