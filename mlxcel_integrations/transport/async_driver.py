"""``AsyncWire``: the twin of ``Wire`` for the task that waits; what is alike stands there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx

from ..errors import MlxcelError, MlxcelStreamError
from ..protocol.failures import Failure, Retries, from_status
from ..protocol.flow import Call, Flow, Gather
from ..protocol.headers import served_by
from ..protocol.stream import Delta, Request
from ..protocol.timeouts import Deadline
from .async_pool import AsyncPool
from .connection import Connection
from .sync_driver import DRAIN_SECONDS
from .sync_pool import hang_up, keeps_alive

__all__ = ["AsyncDriver"]

T = TypeVar("T")


class AsyncDriver:
    """What waits for a server, without blocking the event loop.

    Args:
        connection: The server; other clients may share it.
        transport: An ``httpx`` transport to use instead of connecting, for tests.
    """

    def __init__(self, connection: Connection, transport: httpx.AsyncBaseTransport | None) -> None:
        self._connection = connection
        self._pools = AsyncPool(transport)

    async def start(self) -> Self:
        """Start the managed server now instead of on first use; nothing in connect mode.

        Raises:
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready in time.
        """
        server = self._connection.server
        if server is not None:
            await server.astart()
        return self

    async def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        await self._pools.close()
        # Stopping a server waits for its end.
        await asyncio.to_thread(self._connection.release)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        # It may be half made, in the traceback of a constructor that fails.
        return f"{type(self).__name__}({getattr(self, '_connection', '')})"

    async def stream_deltas(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Send a generation and yield what its events add to the answer.

        Raises:
            MlxcelStreamError: The answer broke off, or was no answer.
            openai.APIError: The server refused the request or could not be reached.
        """
        connection = self._connection
        patience = self._patience()
        began = time.monotonic()
        ask = Call(request.route, request.body, session=request.session)
        response = await self._open(ask, patience)
        first = connection.begin(began)
        stream = request.stream()
        stream.server = served_by(response.headers)
        try:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise MlxcelStreamError(await self._not_a_stream(response, patience))
            pieces = response.aiter_bytes()
            while (piece := await _next(pieces, patience.wait)) is not None:
                deltas = stream.feed(piece)
                if first.wanted and deltas:
                    first.take(time.monotonic(), len(deltas))
                for delta in deltas:
                    yield delta
                if stream.done:
                    stream.close()
                    connection.learn(request.body.get("model"), stream, first)
                    if keeps_alive(response):
                        await self._drain(pieces)
                    return
                patience.changes(time.monotonic(), bool(deltas))
            stream.close()
        except (httpx.RequestError, TimeoutError) as error:
            limit = patience.reached(time.monotonic())
            await asyncio.sleep(connection.settle_seconds)
            stream.close(*connection.broken(error, limit))
        finally:
            connection.end(first)
            await _close(response)

    async def _run(self, flow: Flow[T]) -> T:
        """Make the requests that a flow asks for, and return what it has found out."""
        answer: Any = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            if isinstance(step, Call):
                answer = await self._answer(step)
            else:
                answer = await self._together(step)

    async def _together(self, work: Gather) -> list[Any]:
        """Run flows that need not wait for each other, and return their results."""
        room = asyncio.Semaphore(work.at_once)

        async def run(flow: Flow[Any]) -> Any:
            async with room:
                result = await self._run(flow)
            work.done(result)
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(flow)) for flow in work.flows]
        except BaseExceptionGroup as errors:
            # One that fails ends all; its error is the one to see.
            raise errors.exceptions[0] from errors.exceptions[0].__cause__
        return [task.result() for task in tasks]

    async def _answer(self, ask: Call) -> Any:
        """Return the JSON that a flow asks for, or the failure that it expects."""
        patience = self._patience()
        answer = await self._last_attempt(ask, patience)
        if isinstance(answer, httpx.Response):
            return await self._json(answer, ask, patience)
        if answer.status in ask.expected:
            return answer
        raise self._connection.error(answer, ask) from answer.cause

    async def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that a route answers."""
        return await self._answer(Call(path, body, expected=frozenset()))

    async def _call_if_there(self, path: str) -> Any:
        """Return the JSON that a route answers, None where the server does not have it."""
        ask, patience = Call(path), self._patience()
        answer = await self._attempt(ask, patience)
        if isinstance(answer, Failure):
            return self._connection.absent(answer, ask)
        try:
            return await self._json(answer, ask, patience)
        except MlxcelError:
            return None

    async def _json(self, response: httpx.Response, ask: Call, patience: Deadline) -> Any:
        connection = self._connection
        try:
            return json.loads(await self._read(response, patience))
        except (httpx.RequestError, TimeoutError) as error:
            failure = connection.failure(error, patience.reached(time.monotonic()))
            raise connection.error(failure, ask) from error
        except (ValueError, RecursionError):
            raise MlxcelError(connection.not_json(ask.path, response.headers)) from None

    async def _open(self, ask: Call, patience: Deadline) -> httpx.Response:
        """Return a response of status 200 whose body has not been read."""
        answer = await self._last_attempt(ask, patience)
        if isinstance(answer, Failure):
            raise self._connection.error(answer, ask) from answer.cause
        return answer

    async def _last_attempt(self, ask: Call, patience: Deadline) -> httpx.Response | Failure:
        """Send a request as often as it may be sent, and return what came of it in the end."""
        retries = Retries(self._connection.max_retries)
        while True:
            answer = await self._attempt(ask, patience)
            if isinstance(answer, httpx.Response):
                return answer
            delay = retries.delay(answer)
            if delay is None:
                return answer
            await asyncio.sleep(delay)

    async def _attempt(self, ask: Call, patience: Deadline) -> httpx.Response | Failure:
        await self.start()
        connection = self._connection
        try:
            patience.changes(time.monotonic(), progress=False)
            request = connection.request(ask, patience.wait)
            response = await self._pools.send(connection.endpoint, request)
            # From here on each read has a limit of its own.
            request.extensions["timeout"]["read"] = None
            if response.status_code == 200:
                return response
            text = await self._read(response, patience)
        except (httpx.RequestError, TimeoutError) as error:
            limit = patience.reached(time.monotonic())
            await asyncio.sleep(connection.settle_seconds)
            return connection.failure(error, limit)
        where = connection.where(response.headers)
        return from_status(response.status_code, response.headers, text, where)

    async def _read(self, response: httpx.Response, patience: Deadline) -> bytes:
        try:
            pieces = []
            stream = response.aiter_bytes()
            while (piece := await _next(stream, patience.wait)) is not None:
                pieces.append(piece)
                patience.changes(time.monotonic(), progress=False)
            return b"".join(pieces)
        finally:
            await _close(response)

    def _patience(self) -> Deadline:
        return Deadline(self._connection.timeouts, time.monotonic())

    async def _not_a_stream(self, response: httpx.Response, patience: Deadline) -> str:
        start = await _next(response.aiter_bytes(), patience.wait)
        return self._connection.not_a_stream(response.headers, start or b"")

    async def _drain(self, pieces: AsyncIterator[bytes]) -> None:
        """Read what follows ``[DONE]``, so that the connection can be used again.

        A server that sends nothing more, nor ends the response, must not hold up the answer.
        """
        with contextlib.suppress(httpx.RequestError, TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await anext(pieces, None)


async def _next(pieces: AsyncIterator[bytes], seconds: float) -> bytes | None:
    """Return the next bytes, None at the end."""
    async with asyncio.timeout(seconds):
        return await anext(pieces, None)


async def _close(response: httpx.Response) -> None:
    """Close a response, also in a task that is cancelled again while it does so."""
    if not response.is_closed:
        hang_up(response)
        await asyncio.shield(response.aclose())
