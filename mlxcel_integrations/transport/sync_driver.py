"""``SyncDriver``: does the steps of exchanges in the thread that waits for them."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import httpx

from ..protocol.flow import Flow, Gather
from ..protocol.stream import Delta, Request
from .connection import Connection
from .exchange import LOST, Read, Send, Sleep, Start, Step, Steps, opened, run
from .sockets import limit_reads
from .sync_pool import SyncPool

__all__ = ["SyncDriver"]

T = TypeVar("T")
DRAIN_SECONDS = 0.05


class SyncDriver:
    """Waits for a server: for its start, for answers, and between two attempts.

    Args:
        connection: The server; other drivers may share it.
        transport: An ``httpx`` transport to use instead of connecting, for tests.
    """

    def __init__(self, connection: Connection, transport: httpx.BaseTransport | None) -> None:
        self._connection = connection
        self._pool = SyncPool(transport)
        weakref.finalize(self, self._pool.close)

    def start(self) -> None:
        """Start the managed server now; nothing in connect mode."""
        server = self._connection.server
        if server is not None:
            server.start()

    def close(self) -> None:
        """Close all connections and give the managed server back."""
        self._pool.close()
        self._connection.release()

    def run(self, flow: Flow[T]) -> T:
        """Make the calls of a flow, and return its result."""
        return self._drive(run(self._connection, flow))

    def stream(self, preparation: Flow[Request]) -> Iterator[Delta]:
        """Send the request of a flow, and yield what each event adds to the answer.

        Raises:
            MlxcelStreamError: The answer broke off, or was not a stream.
            openai.APIError: The server refused the request or could not be reached.
        """
        answer = self._drive(opened(self._connection, preparation))
        try:
            # The limit is the socket's from here on, since httpx cannot change it on the way.
            limit_reads(answer.response, answer.timeout)
            pieces = answer.response.iter_bytes()
            for piece in pieces:
                yield from answer.feed(piece)
                if answer.done:
                    break
                if answer.renew():
                    limit_reads(answer.response, answer.timeout)
            if answer.close():
                self._drain(answer.response, pieces)
        except LOST as error:
            time.sleep(answer.interrupted())
            answer.fail(error)
        finally:
            answer.end()
            answer.response.close()

    def _drive(self, steps: Steps[T]) -> T:
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

    def _do(self, step: Step) -> Any:
        match step:
            case Send(endpoint, request):
                return self._pool.send(endpoint, request)
            case Start(server):
                return server.start()
            case Read():
                return self._read(step)
            case Sleep(seconds):
                return time.sleep(seconds)
            case Gather():
                return self._gather(step)

    def _read(self, step: Read) -> bytes:
        response, deadline = step.response, step.deadline
        try:
            pieces = []
            limit_reads(response, deadline.timeout)
            for piece in response.iter_bytes():
                pieces.append(piece)
                if deadline.renew(time.monotonic(), progress=False):
                    limit_reads(response, deadline.timeout)
            return b"".join(pieces)
        finally:
            response.close()

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
            # After a failure, do not send what has not begun, nor wait for what has.
            threads.shutdown(wait=len(results) == len(work.flows), cancel_futures=True)
        return results

    def _drain(self, response: httpx.Response, pieces: Iterator[bytes]) -> None:
        """Read what follows ``[DONE]``, so that the connection can be used again.

        A server that neither sends more nor ends the response must not delay the answer.
        """
        limit_reads(response, DRAIN_SECONDS)
        with contextlib.suppress(httpx.RequestError):
            next(pieces, None)
