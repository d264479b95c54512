"""``SyncDriver``: carries out the steps of exchanges in the thread that waits for them."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import httpx

from ..protocol.answers.delta import Delta
from ..protocol.flow import CallFailed, Flow, Gather
from ..protocol.generation_request import Request
from .blocked_loop import warn_of_blocked_loop
from .connection import Connection
from .exceptions import in_time, to_exception
from .exchange import ensure_started, run
from .generation import follow_up_steps, open_answer
from .steps import CONNECTION_ERRORS, Close, Next, Send, Sleep, Start, Step, Steps, Wait
from .streamed_answer import StreamedAnswer
from .sync_pool import SyncPool

__all__ = ["SyncDriver"]

T = TypeVar("T")


class SyncDriver:
    """Waits for a server: for its start, for answers, and between two attempts.

    Args:
        connection: The server; other drivers may share it.
        transport: An ``httpx`` transport to use instead of connecting, for tests.
    """

    def __init__(self, connection: Connection, transport: httpx.BaseTransport | None) -> None:
        self._connection = connection
        self._pool = SyncPool(transport, connection.lease)
        self._in_time = in_time(connection.timeouts.total_timeout, _start_timer)
        weakref.finalize(self, self._pool.close)

    def start(self) -> None:
        """Start the managed server now; does nothing in connect mode."""
        self._drive(ensure_started(self._connection))

    def close(self) -> None:
        """Close all connections and give the managed server back."""
        try:
            # Warnings may be errors.
            self._connection.pass_on_template_failure()
        finally:
            self._pool.close()
            self._connection.release()

    def run(self, flow: Flow[T]) -> T:
        """Make the calls of a flow, and return its result."""
        __tracebackhide__ = True
        with self._in_time():
            return self._drive(run(self._connection, flow))

    def stream(self, preparation: Flow[Request]) -> Iterator[Delta]:
        """Send the request of a flow, and yield what each event adds to the answer.

        If another request follows the answer, what is added to that one is yielded, too.

        Raises:
            MlxcelStreamError: The answer broke off, or was not a stream.
            openai.APIError: The server refused the request or could not be reached.
        """
        warn_of_blocked_loop()
        # Notebooks and pytest leave these functions out of a traceback.
        __tracebackhide__ = True
        steps: Steps[StreamedAnswer] | None = open_answer(self._connection, preparation)
        while steps is not None:
            with self._in_time():
                answer = self._drive(steps)
            incoming = answer.incoming
            try:
                deltas = answer.first
                while True:
                    yield from deltas
                    if answer.done:
                        break
                    # After the reader, whose time is not the server's.
                    incoming.deadline.renew(time.monotonic(), answer.has_token)
                    deltas = answer.feed(next(incoming.pieces, None))
                self._drive(answer.end())
            except CONNECTION_ERRORS as error:
                self._drive(answer.fail(error))
            finally:
                answer.leave()
                incoming.closing.close()
            steps = follow_up_steps(self._connection, answer)

    def _drive(self, steps: Steps[T]) -> T:
        __tracebackhide__ = True
        try:
            step = next(steps)
            while True:
                try:
                    result = self._do(step)
                except BaseException as error:  # noqa: BLE001 - the generator decides
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return cast("T", end.value)
        except CallFailed as failed:
            raise to_exception(self._connection, failed.failure, failed.call) from None

    def _do(self, step: Step) -> Any:
        match step:
            case Send(endpoint, request, deadline):
                return self._pool.send(endpoint, request, deadline)
            case Next(incoming):
                return next(incoming.pieces, None)
            case Start(server):
                return server.start()
            case Wait(place, timeout):
                return place.result(timeout)
            case Close(incoming):
                return incoming.closing.close()
            case Sleep(seconds):
                return time.sleep(seconds)
            case _:
                return self._gather(step)

    def _gather(self, work: Gather) -> list[Any]:
        """Run flows that need not wait for each other, and return their results."""
        from concurrent.futures import ThreadPoolExecutor

        results: list[Any] = []
        threads = ThreadPoolExecutor(work.at_once)
        try:
            for future in [threads.submit(self.run, flow) for flow in work.flows]:
                results.append(future.result())
                work.done(results[-1])
        finally:
            # After a failure, cancel the flows that have not begun, and do not wait for the others.
            threads.shutdown(wait=len(results) == len(work.flows), cancel_futures=True)
        return results


def _start_timer(seconds: float, function: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, function)
    # Python does not wait for it at its end.
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # There are too many threads, or Python is ending.
        timer.start()
    return timer
