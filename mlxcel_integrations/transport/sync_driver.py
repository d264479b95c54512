"""``Wire``: requests to one server, and its answers, for the thread that waits for them."""

from __future__ import annotations

import contextlib
import json
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar, cast

import httpx

from ..context_manager import ContextManager
from ..errors import MlxcelError, MlxcelStreamError
from ..protocol.failures import Failure, Retries, from_status
from ..protocol.flow import Call, Flow, Gather
from ..protocol.headers import served_by
from ..protocol.stream import Delta, Request
from ..protocol.timeouts import Deadline
from .connection import Connection
from .sync_pool import Pool, close_leaked_socket, keeps_alive, limit_reads

__all__ = ["SyncDriver"]

T = TypeVar("T")
DRAIN_SECONDS = 0.05


class SyncDriver(ContextManager):
    """What waits for a server: for its start, for answers, and between two attempts.

    What to ask for, and what an answer means, is decided elsewhere.

    Args:
        connection: The server; other clients may share it.
        transport: An ``httpx`` transport to use instead of connecting, for tests.
    """

    def __init__(self, connection: Connection, transport: httpx.BaseTransport | None) -> None:
        self._connection = connection
        self._pool = Pool(transport)
        weakref.finalize(self, self._pool.close)

    def start(self) -> Self:
        """Start the managed server now instead of on first use; nothing in connect mode.

        Raises:
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready in time.
        """
        server = self._connection.server
        if server is not None:
            server.start()
        return self

    def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        self._pool.close()
        self._connection.release()

    def __repr__(self) -> str:
        # It may be half made, in the traceback of a constructor that fails.
        return f"{type(self).__name__}({getattr(self, '_connection', '')})"

    def stream_deltas(self, request: Request) -> Iterator[Delta]:
        """Send a generation and yield what its events add to the answer.

        Raises:
            MlxcelStreamError: The answer broke off, or was no answer.
            openai.APIError: The server refused the request or could not be reached.
        """
        connection = self._connection
        patience = self._patience()
        began = time.monotonic()
        ask = Call(request.route, request.body, session=request.session)
        response = self._open(ask, patience)
        first = connection.begin(began)
        stream = request.stream()
        stream.server = served_by(response.headers)
        try:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise MlxcelStreamError(self._not_a_stream(response, patience))
            limit_reads(response, patience.wait)
            pieces = response.iter_bytes()
            for piece in pieces:
                deltas = stream.feed(piece)
                if first.wanted and deltas:
                    first.take(time.monotonic(), len(deltas))
                yield from deltas
                if stream.done:
                    stream.close()
                    connection.learn(request.body.get("model"), stream, first)
                    if keeps_alive(response):
                        self._drain(response, pieces)
                    return
                if patience.changes(time.monotonic(), bool(deltas)):
                    limit_reads(response, patience.wait)
            stream.close()
        except (httpx.RequestError, TimeoutError) as error:
            limit = patience.reached(time.monotonic())
            time.sleep(connection.settle_seconds)
            stream.close(*connection.broken(error, limit))
        finally:
            connection.end(first)
            response.close()

    def _run(self, flow: Flow[T]) -> T:
        """Make the requests that a flow asks for, and return what it has found out."""
        answer: Any = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            answer = self._answer(step) if isinstance(step, Call) else self._together(step)

    def _together(self, work: Gather) -> list[Any]:
        """Run flows that need not wait for each other, and return their results."""
        from concurrent.futures import ThreadPoolExecutor

        results: list[Any] = []
        pool = ThreadPoolExecutor(work.at_once)
        try:
            for future in [pool.submit(self._run, flow) for flow in work.flows]:
                results.append(future.result())
                work.done(results[-1])
        finally:
            # After a failure, what has not begun is not sent, and what has is not waited for.
            pool.shutdown(wait=len(results) == len(work.flows), cancel_futures=True)
        return results

    def _answer(self, ask: Call) -> Any:
        """Return the JSON that a flow asks for, or the failure that it expects."""
        patience = self._patience()
        answer = self._last_attempt(ask, patience)
        if isinstance(answer, httpx.Response):
            return self._json(answer, ask, patience)
        if answer.status in ask.expected:
            return answer
        raise self._connection.error(answer, ask) from answer.cause

    def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that a route answers."""
        return self._answer(Call(path, body, expected=frozenset()))

    def _call_if_there(self, path: str) -> Any:
        """Return the JSON that a route answers, None where the server does not have it."""
        ask, patience = Call(path), self._patience()
        answer = self._attempt(ask, patience)
        if isinstance(answer, Failure):
            return self._connection.absent(answer, ask)
        try:
            return self._json(answer, ask, patience)
        except MlxcelError:
            return None

    def _json(self, response: httpx.Response, ask: Call, patience: Deadline) -> Any:
        connection = self._connection
        try:
            return json.loads(self._read(response, patience))
        except (httpx.RequestError, TimeoutError) as error:
            failure = connection.failure(error, patience.reached(time.monotonic()))
            raise connection.error(failure, ask) from error
        except (ValueError, RecursionError):
            raise MlxcelError(connection.not_json(ask.path, response.headers)) from None

    def _open(self, ask: Call, patience: Deadline) -> httpx.Response:
        """Return a response of status 200 whose body has not been read."""
        answer = self._last_attempt(ask, patience)
        if isinstance(answer, Failure):
            raise self._connection.error(answer, ask) from answer.cause
        return answer

    def _last_attempt(self, ask: Call, patience: Deadline) -> httpx.Response | Failure:
        """Send a request as often as it may be sent, and return what came of it in the end."""
        retries = Retries(self._connection.max_retries)
        while True:
            answer = self._attempt(ask, patience)
            if isinstance(answer, httpx.Response):
                return answer
            delay = retries.delay(answer)
            if delay is None:
                return answer
            time.sleep(delay)

    def _attempt(self, ask: Call, patience: Deadline) -> httpx.Response | Failure:
        self.start()
        connection = self._connection
        try:
            patience.changes(time.monotonic(), progress=False)
            request = connection.request(ask, patience.wait)
            response = self._pool.send(connection.endpoint, request)
            # From here on the limit is the socket's, which can be changed on the way.
            request.extensions["timeout"]["read"] = None
            if response.status_code == 200:
                return response
            text = self._read(response, patience)
        except (httpx.RequestError, TimeoutError) as error:
            limit = patience.reached(time.monotonic())
            close_leaked_socket(error)
            time.sleep(connection.settle_seconds)
            return connection.failure(error, limit)
        where = connection.where(response.headers)
        return from_status(response.status_code, response.headers, text, where)

    def _read(self, response: httpx.Response, patience: Deadline) -> bytes:
        try:
            pieces = []
            limit_reads(response, patience.wait)
            for piece in response.iter_bytes():
                pieces.append(piece)
                if patience.changes(time.monotonic(), progress=False):
                    limit_reads(response, patience.wait)
            return b"".join(pieces)
        finally:
            response.close()

    def _patience(self) -> Deadline:
        return Deadline(self._connection.timeouts, time.monotonic())

    def _not_a_stream(self, response: httpx.Response, patience: Deadline) -> str:
        limit_reads(response, patience.wait)
        return self._connection.not_a_stream(response.headers, next(response.iter_bytes(), b""))

    def _drain(self, response: httpx.Response, pieces: Iterator[bytes]) -> None:
        """Read what follows ``[DONE]``, so that the connection can be used again.

        A server that sends nothing more, nor ends the response, must not hold up the answer.
        """
        limit_reads(response, DRAIN_SECONDS)
        with contextlib.suppress(httpx.RequestError):
            next(pieces, None)
