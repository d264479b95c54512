"""The scheduler of mlxcel 0.4.2, with the fault by which more requests than slots break some.

A round of prefill takes up to `max_batch_prefill` requests from the queue as soon as one slot is
free, however many are: those that find no slot afterwards are dropped after their first token.
With rounds of one request, none is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Literal

State = Literal["queued", "prefilling", "running", "dropped", "refused", "unallocated"]


class Ticket:
    """The place of one request."""

    def __init__(self) -> None:
        self.state: State = "queued"
        self.decided = threading.Event()

    def decide(self, state: State) -> None:
        self.state = state
        self.decided.set()


class Scheduler:
    """Gives slots to requests.

    Attributes:
        slots: How many requests run at once; 0 has no memory for any, as with `--no-batch`.
        max_batch_prefill: How many a round of prefill takes.
        max_queue_depth: How many may wait.
        prefill_seconds: How long a round takes.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.max_batch_prefill = 4
        self.max_queue_depth = 32
        self.prefill_seconds = 0.002
        self._lock = threading.Lock()
        self._queue: deque[Ticket] = deque()
        self._running = 0
        self._prefilling = False

    @property
    def running(self) -> int:
        return self._running

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether a request that arrives now is refused."""
        return len(self._queue) >= self.max_queue_depth

    def enter(self) -> Ticket:
        """Join the queue; one that was not full when the request arrived may be so by now."""
        with self._lock:
            ticket = Ticket()
            if self.full or not self.slots:
                ticket.decide("refused" if self.slots else "unallocated")
                return ticket
            self._queue.append(ticket)
            self._start_round()
            return ticket

    def leave(self, ticket: Ticket) -> None:
        """Free the place; a prefill that has begun is finished nevertheless."""
        with self._lock:
            if ticket.state == "queued":
                self._queue.remove(ticket)
            elif ticket.state == "running":
                self._running -= 1
            ticket.state = "refused"
            self._start_round()

    def _start_round(self) -> None:
        if self._prefilling or not self._queue or self._running >= self.slots:
            return
        count = min(self.max_batch_prefill, len(self._queue))
        batch = [self._queue.popleft() for _ in range(count)]
        for ticket in batch:
            ticket.state = "prefilling"
        self._prefilling = True
        threading.Thread(target=self._prefill, args=(batch,), daemon=True).start()

    def _prefill(self, batch: list[Ticket]) -> None:
        time.sleep(self.prefill_seconds)
        with self._lock:
            for ticket in batch:
                if ticket.state != "prefilling":
                    continue  # the client left meanwhile
                if self._running < self.slots:
                    self._running += 1
                    ticket.decide("running")
                else:
                    ticket.decide("dropped")
            self._prefilling = False
            self._start_round()
