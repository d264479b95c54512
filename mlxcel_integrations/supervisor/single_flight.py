"""One start at a time, for all who wait for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait

from ..errors import MlxcelServerError

__all__ = ["Pause", "SingleFlight", "StartCancelled", "Waiter"]

Pause = Callable[[float], bool]
"""Waits for so many seconds, and tells whether nobody waits for the start any more."""

_LOOK_EVERY = 0.05
"""Longest time until a start that nobody waits for any more is given up, in seconds."""


class StartCancelled(MlxcelServerError):
    """Nobody waits for a start any more."""


class Waiter:
    """One who waits for a start.

    Attributes:
        future: Done when the start is.
        left: Whether it waits no more.
    """

    def __init__(self) -> None:
        self.future: Future[None] = Future()
        # A task that is cancelled must not cancel the start for the others.
        self.future.set_running_or_notify_cancel()
        self.left = False
        self._thread: threading.Thread | None = None

    def begin(self, target: Callable[[], None]) -> None:
        """Do in a thread what must not be interrupted, as the main thread may be at any line.

        Raises:
            MlxcelServerError: The system has no thread left.
        """
        self._thread = threading.Thread(target=target, name="mlxcel-start", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise MlxcelServerError(
                f"A server needs a few threads: {error}. Raise the limit (ulimit -u), or end some."
            ) from error

    def leave(self, timeout: float = 0.0) -> None:
        """Wait no more; the last one to leave ends the start.

        Args:
            timeout: How long to wait until it has ended, in seconds.
        """
        self.left = True
        if timeout and self._thread is not None and self._thread.ident is not None:
            wait([self.future], timeout)

    def forget(self) -> None:
        """Let go of what came of the start.

        The traceback of an error holds the frames of those who saw it, and these hold this object.
        With the error in it, a lease in a frame would keep a server that was closed by all others,
        until the collector runs.
        """
        self.future = Future()

    def tell(self, error: BaseException | None) -> None:
        """Say what came of the start."""
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class SingleFlight:
    """The starts of one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: list[Waiter] = []
        self._idle = threading.Event()
        self._idle.set()
        self._held_off = False

    def join(self, waiter: Waiter, attempt: Callable[[Pause], None]) -> None:
        """Have a waiter told what comes of the start that is under way, or of a new one.

        Args:
            waiter: Who waits.
            attempt: Starts the server.
        """
        waiter.begin(lambda: self._attend(waiter, attempt))

    @contextlib.contextmanager
    def held_off(self, timeout: float) -> Iterator[None]:
        """End the start that is under way, and have none for a while.

        Args:
            timeout: Longest time to wait for its end, in seconds.
        """
        self._held_off = True
        try:
            self._idle.wait(timeout)
            yield
        finally:
            self._held_off = False

    def _attend(self, waiter: Waiter, attempt: Callable[[Pause], None]) -> None:
        with self._lock:
            self._waiters.append(waiter)
            if not self._idle.is_set():
                return
            self._idle.clear()
        while not self._is_over(_outcome(attempt, self._pause)):
            pass

    def _is_over(self, error: BaseException | None) -> bool:
        """Tell the waiters what came of an attempt; False if there has to be another one."""
        with self._lock:
            told, self._waiters = self._waiters, []
            if isinstance(error, StartCancelled) and not self._held_off:
                # They have come after the last one had left.
                self._waiters = [waiter for waiter in told if not waiter.left]
                told = [waiter for waiter in told if waiter.left]
            over = not self._waiters
            if over:
                self._idle.set()
        for waiter in told:
            waiter.tell(error)
        return over

    def _pause(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self._nobody_waits():
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _LOOK_EVERY))
        return True

    def _nobody_waits(self) -> bool:
        return self._held_off or all(waiter.left for waiter in self._waiters)


def _outcome(attempt: Callable[[Pause], None], pause: Pause) -> BaseException | None:
    try:
        attempt(pause)
    except BaseException as error:  # noqa: BLE001  raised to whoever waits
        return error
    return None
