"""Turns of the streams in one event loop: none of them keeps the others, or the loop, waiting.

A stream whose text has already arrived never has to wait, and so would never let anything else
run; 200 of them would block the loop until all of their texts are read.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from weakref import WeakValueDictionary

__all__ = ["DELTAS_PER_TURN", "LONG_ITERATION_SECONDS", "MAX_TURNS", "Turns"]

DELTAS_PER_TURN = 32
"""Deltas that a stream yields before it lets others run."""

MAX_TURNS = 8
"""Most streams that have a turn in one iteration of the loop."""

LONG_ITERATION_SECONDS = 0.008
"""Processor time: an iteration of the loop that takes longer had too many turns."""


class Turns:
    """The streams of an event loop that have more to yield: first come, first served."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._joined = 0
        self._at_once = MAX_TURNS
        self._admitted_at = 0.0

    @classmethod
    def of_this_loop(cls) -> Turns:
        """Return those of the running event loop."""
        loop = asyncio.get_running_loop()
        turns = _turns.get(id(loop))
        if turns is None:
            turns = _turns[id(loop)] = cls()
        return turns

    async def join(self) -> None:
        """Begin, or go on after a wait: at once if few other streams do in this iteration."""
        if self._waiting or self._joined >= self._at_once:
            await self.take()
        else:
            if not self._joined:
                self._loop.call_soon(self._end_iteration)
            self._joined += 1

    async def take(self) -> None:
        """Let others run, and return when it is this stream's turn again."""
        turn = self._loop.create_future()
        if not self._waiting:
            self._admitted_at = time.thread_time()
            self._loop.call_soon(self._admit)
        self._waiting.append(turn)
        await turn

    def _end_iteration(self) -> None:
        self._joined = 0

    def _admit(self) -> None:
        self._adapt()
        for _ in range(min(self._at_once, len(self._waiting))):
            turn = self._waiting.popleft()
            # The task that waits for it may have been cancelled.
            if not turn.done():
                turn.set_result(None)
        if self._waiting:
            self._loop.call_soon(self._admit)

    def _adapt(self) -> None:
        """Let fewer streams have a turn at once if those of the last iteration took long.

        How long a turn takes is up to the reader of the stream.
        """
        now = time.thread_time()
        is_long = now - self._admitted_at > LONG_ITERATION_SECONDS
        self._at_once = max(1, self._at_once // 2) if is_long else min(MAX_TURNS, self._at_once + 1)
        self._admitted_at = now


# Turns keep their loop, so that no other gets its id. They stay while a stream or a callback of the
# loop has them; a dictionary that kept them would keep each loop that ever had a request.
_turns: WeakValueDictionary[int, Turns] = WeakValueDictionary()
