"""Line in front of a server: no more generations at once than it has slots.

mlxcel up to v0.4.2 breaks off answers if more requests arrive than it has slots for, instead of
queueing them. All clients, threads and event loops of a process share the line of an address.

Somebody waits for each interactive answer, so these go before those of batches.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from ..forks import fork_safe_lock

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Line", "Place", "in_batch", "line_of"]

Place: TypeAlias = "Future[None]"

_in_batch: ContextVar[bool] = ContextVar("in_batch", default=False)


@contextlib.contextmanager
def in_batch() -> Iterator[None]:
    """Mark requests that are made in the block, and in its new threads and tasks, as a batch."""
    token = _in_batch.set(True)
    try:
        yield
    finally:
        _in_batch.reset(token)


class Line:
    """The generations that wait for a slot of one server: first come, first served.

    Those of batches wait until no other does.

    Args:
        known: Whether it is known from the start that the server needs no line.

    Attributes:
        slots_known: Whether the number of slots is known; until then, generations are sent one at
            a time.
        asked: Whether the server was asked for it, and has at least said what it is.
    """

    def __init__(self, *, known: bool = False) -> None:
        self.slots_known = known
        self._slots: float | None = None if known else 1
        self._most = math.inf
        self._servers: set[str] = set()
        self.restart()

    def restart(self) -> None:
        """Empty the line.

        Needed in a forked child, where nothing gives the places of the parent's threads back.
        """
        self.asked = self.slots_known
        self._lock = threading.Lock()
        self._waiting: deque[Place] = deque()
        self._of_batches: deque[Place] = deque()
        # Weak, so that a place becomes free when its holder is gone.
        self._under_way: weakref.WeakSet[Place] = weakref.WeakSet()

    @property
    def waiting(self) -> int:
        """How many generations wait for their turn."""
        return len(self._waiting) + len(self._of_batches)

    def enter(self) -> Place | None:
        """Return a place, which is done when its turn has come; None if no line is needed."""
        if self._slots is None:
            return None
        # Imported here since servers whose slots need no line are the rule.
        from concurrent.futures import Future

        place: Place = Future()
        with self._lock:
            admitted = not self.waiting and self._has_room()
            if admitted:
                self._under_way.add(place)
            else:
                (self._of_batches if _in_batch.get() else self._waiting).append(place)
        if admitted:
            place.set_result(None)
        return place

    def leave(self, place: Place | None) -> None:
        """Give a place back, whether or not its turn had come."""
        if place is None:
            return
        with self._lock:
            if self.waiting:
                for queue in (self._waiting, self._of_batches):
                    with contextlib.suppress(ValueError):  # it is not in this queue
                        queue.remove(place)
            self._under_way.discard(place)
        if self.waiting:
            self._admit()

    def learn(self, slots: float | None) -> None:
        """Note how many slots the server has: infinity if unknown, None if it needs no line."""
        self.slots_known = self.asked = True
        self._slots = self._most if slots == math.inf else slots
        self._admit()

    def broke_off(self) -> None:
        """Note that an answer broke off: with unknown slots, half as many are sent at once."""
        with self._lock:
            under_way = len(self._under_way) // max(len(self._servers), 1)
            if self._slots == self._most and under_way > 1:
                self._slots = self._most = under_way // 2

    def saw(self, server: str) -> None:
        """Note one of several servers behind the address, which all have the same slots."""
        if server not in self._servers:
            self._servers.add(server)
            self._admit()

    def forget(self) -> None:
        """Forget the slots, since it may be another server now."""
        self.slots_known = self.asked = False
        self._servers.clear()

    def _admit(self) -> None:
        admitted = []
        with self._lock:
            while (queue := self._waiting or self._of_batches) and self._has_room():
                place = queue.popleft()
                # The task that waited for it may have been cancelled.
                if place.set_running_or_notify_cancel():
                    self._under_way.add(place)
                    admitted.append(place)
        # Outside of the lock, since this runs callbacks of the waiting tasks.
        for place in admitted:
            place.set_result(None)

    def _has_room(self) -> bool:
        if self._slots is None:
            return True
        return len(self._under_way) < self._slots * max(len(self._servers), 1)


_lines: weakref.WeakValueDictionary[str, Line] = weakref.WeakValueDictionary()
_lines_lock = fork_safe_lock()


def line_of(address: str) -> Line:
    """Return the line of a server, which all connections to the address share.

    Args:
        address: The ``Endpoint.canonical`` address of the server.
    """
    with _lines_lock:
        return _lines.setdefault(address, Line())


def _restart_lines() -> None:
    """Restart the lines, which objects of the parent and new ones share in a forked child."""
    for line in _lines.values():
        line.restart()


if hasattr(os, "register_at_fork"):  # pragma: no branch # not on Windows
    os.register_at_fork(after_in_child=_restart_lines)
