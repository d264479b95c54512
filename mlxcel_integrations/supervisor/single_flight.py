"""Single flight: one start at a time, shared by all who wait for it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait

from ..errors import MlxcelServerError

__all__ = ["CancelledWithin", "SingleFlight", "StartCancelled", "StartLimit", "Waiter"]

CancelledWithin = Callable[[float], bool]
"""Sleeps for the given seconds; returns True as soon as the start is cancelled."""

_CHECK_EVERY = 0.05
"""Longest time until a start that nobody waits for any more is cancelled, in seconds."""


class StartCancelled(MlxcelServerError):
    """Nobody waits for a start any more."""


class StartLimit:
    """Limit of a start's wait for another process: its time, and that somebody waits for it.

    Args:
        model: The model, for the error.
        seconds: Time of the start.
        cancelled_within: Sleeps, and returns whether the start was cancelled meanwhile.

    Attributes:
        seconds: Time of the start.
    """

    def __init__(
        self, model: str, seconds: float, cancelled_within: CancelledWithin = lambda _: False
    ) -> None:
        self.seconds = seconds
        self._model = model
        self._deadline = time.monotonic() + seconds
        self._cancelled_within = cancelled_within

    def pause(self, seconds: float = 0.0) -> None:
        """Sleep.

        Raises:
            StartCancelled: Nobody waits for the start any more.
            TimeoutError: Its time is over.
        """
        if self._cancelled_within(seconds):
            raise StartCancelled(f"The start of the server for {self._model!r} was cancelled.")
        if time.monotonic() >= self._deadline:
            raise TimeoutError


class Waiter:
    """A caller who waits for a start.

    Attributes:
        future: Done when the start is.
        left: Whether the caller has stopped waiting.
        thread: Runs the start, or only joins it; None before that.
    """

    def __init__(self) -> None:
        self.future: Future[None] = Future()
        # A task that is cancelled must not cancel the start for the others.
        self.future.set_running_or_notify_cancel()
        self.left = False
        self.thread: threading.Thread | None = None

    def leave(self, timeout: float = 0.0) -> None:
        """Stop waiting; the last one to leave cancels the start.

        Args:
            timeout: How long to wait until it has ended, in seconds.
        """
        self.left = True
        if timeout and self.thread is not None and self.thread.ident is not None:
            wait([self.future], timeout)

    def forget(self) -> None:
        """Drop the outcome of the start.

        The traceback of an error holds the frames of those who saw it, and these hold this object.
        With the error in it, a lease in one of these frames would keep alive a server that all
        others have closed, until the garbage collector runs.
        """
        self.future = Future()

    def set_outcome(self, error: BaseException | None) -> None:
        """Report the outcome of the start."""
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class SingleFlight:
    """The starts of one server, of which one runs at a time."""

    def __init__(self) -> None:
        self._reset()
        _flights.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._waiters: list[Waiter] = []
        self._idle = threading.Event()
        self._idle.set()
        self._suspended = False

    def join(self, waiter: Waiter, attempt: Callable[[CancelledWithin], None]) -> None:
        """Join the start that is under way, or begin one.

        Both happen in a thread, since an interrupt may come at any line of the main thread.

        Args:
            waiter: Gets the outcome.
            attempt: Starts the server.

        Raises:
            MlxcelServerError: The system has no thread left, or the program is ending.
        """
        waiter.thread = threading.Thread(
            target=self._join_or_run, args=(waiter, attempt), name="mlxcel-start", daemon=True
        )
        try:
            waiter.thread.start()
        except RuntimeError as error:
            if "interpreter shutdown" in str(error):
                raise MlxcelServerError(
                    "The program is ending, so no server was started."
                ) from error
            raise MlxcelServerError(
                f"Cannot start a thread for the server: {error}. Raise the limit (ulimit -u), or "
                "end some programs."
            ) from error

    @contextlib.contextmanager
    def suspended(self, timeout: float) -> Iterator[None]:
        """Cancel the start that is under way, and let none begin inside the block.

        Args:
            timeout: Longest time to wait for its end, in seconds.
        """
        self._suspended = True
        try:
            self._idle.wait(timeout)
            yield
        finally:
            self._suspended = False

    def _join_or_run(self, waiter: Waiter, attempt: Callable[[CancelledWithin], None]) -> None:
        with self._lock:
            self._waiters.append(waiter)
            if not self._idle.is_set():
                return
            self._idle.clear()
        while not self._settle(_error_of(attempt, self._cancelled_within)):
            pass

    def _settle(self, error: BaseException | None) -> bool:
        """Report the outcome of an attempt; return False if another attempt is needed."""
        with self._lock:
            told, self._waiters = self._waiters, []
            if isinstance(error, StartCancelled) and not self._suspended:
                # Those who have not left joined after the last of the others had left.
                self._waiters = [waiter for waiter in told if not waiter.left]
                told = [waiter for waiter in told if waiter.left]
            over = not self._waiters
            if over:
                self._idle.set()
        for waiter in told:
            waiter.set_outcome(error)
        return over

    def _cancelled_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self._is_cancelled():
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _CHECK_EVERY))
        return True

    def _is_cancelled(self) -> bool:
        return self._suspended or all(waiter.left for waiter in self._waiters)


def _error_of(
    attempt: Callable[[CancelledWithin], None], cancelled_within: CancelledWithin
) -> BaseException | None:
    try:
        attempt(cancelled_within)
    except BaseException as error:  # noqa: BLE001  raised to the waiters
        return error
    return None


_flights: weakref.WeakSet[SingleFlight] = weakref.WeakSet()


def _forget_starts() -> None:
    """Forget the starts of the parent, whose threads do not exist in a forked child."""
    for flight in _flights:
        flight._reset()


os.register_at_fork(after_in_child=_forget_starts)
