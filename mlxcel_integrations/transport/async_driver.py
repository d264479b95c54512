"""``AsyncDriver``: carries out the steps of exchanges in the task that waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar, cast

import httpx

from ..protocol.answers.delta import Delta
from ..protocol.flow import CallFailed, Flow, Gather
from ..protocol.generation_request import Request
from .async_pool import AsyncPool, off_loop
from .connection import Connection
from .exceptions import in_time, to_exception
from .exchange import ensure_started, run
from .generation import follow_up_steps, open_answer
from .sockets import hang_up
from .steps import CONNECTION_ERRORS, Close, Incoming, Next, Send, Sleep, Start, Step, Steps, Wait
from .streamed_answer import StreamedAnswer
from .turns import DELTAS_PER_TURN, Turns

__all__ = ["AsyncDriver"]

T = TypeVar("T")

LATER_SECONDS = 0.05
"""How much later than ``total_timeout`` the limit around a whole request ends it, in seconds."""


class AsyncDriver:
    """Waits for a server without blocking the event loop; see ``SyncDriver``.

    Args:
        connection: The server; other drivers may share it.
        transport: An ``httpx`` transport to use instead of connecting, for tests.
    """

    def __init__(self, connection: Connection, transport: httpx.AsyncBaseTransport | None) -> None:
        self._connection = connection
        self._pool = AsyncPool(transport, connection.lease)
        self._in_time = in_time(connection.timeouts.total_timeout, _on_the_loop)

    async def start(self) -> None:
        """Start the managed server now; does nothing in connect mode."""
        await self._drive(ensure_started(self._connection))

    async def close(self) -> None:
        """Close the connections of this event loop and give the managed server back."""
        try:
            # Warnings may be errors.
            self._connection.pass_on_template_failure()
        finally:
            await self._pool.close()
            # Stopping a server waits for its end.
            await off_loop(self._connection.release)

    async def run(self, flow: Flow[T]) -> T:
        """Make the calls of a flow, and return its result."""
        __tracebackhide__ = True
        with self._in_time():
            return await self._drive(run(self._connection, flow))

    async def stream(self, preparation: Flow[Request]) -> AsyncGenerator[Delta, None]:
        """Send the request of a flow, and yield what each event adds to the answer.

        If another request follows the answer, what is added to that one is yielded, too.

        Raises:
            MlxcelStreamError: The answer broke off, or was not a stream.
            openai.APIError: The server refused the request or could not be reached.
        """
        # Notebooks and pytest leave these functions out of a traceback.
        __tracebackhide__ = True
        steps: Steps[StreamedAnswer] | None = open_answer(self._connection, preparation)
        turns = Turns.of_this_loop()
        await turns.join()
        while steps is not None:
            with self._in_time():
                answer = await self._drive(steps)
            incoming = answer.incoming
            yielded = 0
            try:
                deltas = answer.first
                while True:
                    for delta in deltas:
                        yield delta
                        yielded += 1
                        if yielded % DELTAS_PER_TURN == 0:
                            await turns.take()
                    if answer.done:
                        break
                    # After the reader, whose time is not the server's.
                    incoming.deadline.renew(time.monotonic(), answer.has_token)
                    piece = await _anext(incoming)
                    await turns.join()
                    # A traceback with locals would show what is left in it.
                    deltas, piece = answer.feed(piece), b""
                await self._drive(answer.end())
            except CONNECTION_ERRORS as error:
                await self._drive(answer.fail(error))
            finally:
                answer.leave()
                await _close(incoming)
            steps = follow_up_steps(self._connection, answer)

    async def _drive(self, steps: Steps[T]) -> T:
        __tracebackhide__ = True
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._do(step)
                except BaseException as error:  # noqa: BLE001 - the generator decides
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return cast("T", end.value)
        except CallFailed as failed:
            # The first one imports openai, for which the loop would wait.
            raise await off_loop(
                to_exception, self._connection, failed.failure, failed.call
            ) from None

    async def _do(self, step: Step) -> Any:
        match step:
            case Send(endpoint, request, deadline):
                await Turns.of_this_loop().join()
                # Later than the limits of each wait, whose errors say what was waited for.
                async with asyncio.timeout(deadline.left(time.monotonic() - LATER_SECONDS)):
                    return await self._pool.send(endpoint, request, deadline)
            case Next(incoming):
                await Turns.of_this_loop().join()
                return await _anext(incoming)
            case Start(server):
                return await server.astart()
            case Wait(place, timeout):
                return await asyncio.wait_for(asyncio.wrap_future(place), timeout)
            case Close(incoming):
                return await _close(incoming)
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case _:
                return await self._gather(step)

    async def _gather(self, work: Gather) -> list[Any]:
        """Run flows that need not wait for each other, and return their results."""
        places = asyncio.Semaphore(work.at_once)

        async def run_one(flow: Flow[Any]) -> Any:
            async with places:
                result = await self.run(flow)
            work.done(result)
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run_one(flow)) for flow in work.flows]
        except BaseExceptionGroup as errors:
            # The first failure ends all others, and is the one to report.
            raise errors.exceptions[0] from errors.exceptions[0].__cause__
        return [task.result() for task in tasks]


def _on_the_loop(seconds: float, function: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, function)


async def _anext(incoming: Incoming) -> bytes | None:
    """Return the next bytes of a body, None at its end."""
    async with asyncio.timeout(incoming.deadline.timeout):
        piece: bytes | None = await anext(incoming.pieces, None)
    incoming.ended = piece is None
    return piece


async def _close(incoming: Incoming) -> None:
    """Close a response, even if its task is cancelled again meanwhile."""
    if not incoming.ended:
        # Once only: afterwards, another request may use the connection.
        incoming.ended = True
        hang_up(incoming.response)
    await asyncio.shield(incoming.closing.aclose())
