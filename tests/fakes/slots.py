"""Whether the embedded engine still works on an answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

__all__ = ["busy_slots", "within"]


@contextlib.contextmanager
def busy_slots(socket: str) -> Iterator[Callable[[], int]]:
    """Yield what returns how many slots are at work on an answer.

    The engine notices that a client has gone when it sends, not while it reads the prompt.
    """

    def answers(slot: dict[str, Any]) -> bool:
        return slot["is_processing"] and slot["next_token"][0]["n_decoded"] > 0

    transport = httpx.HTTPTransport(uds=socket)
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        yield lambda: sum(map(answers, client.get("/slots").json()))


def within(seconds: float, slots: Callable[[], int], expected: int) -> bool:
    """Wait until so many slots are busy; tell whether it came to that in time."""
    deadline = time.monotonic() + seconds
    while slots() != expected:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
