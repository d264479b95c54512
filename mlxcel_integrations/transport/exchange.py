"""Exchanges with one server: the steps to wait for, and the meaning of what arrives.

A flow of ``protocol`` says what to ask. The generators here turn its calls into steps, and decide
on retries, limits and errors. A driver does the steps: ``SyncDriver`` in a thread, ``AsyncDriver``
in a task. It throws errors into the generator, so that ``except`` works as it reads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import httpx

from ..errors import MlxcelError, MlxcelStreamError
from ..protocol.failures import Failure, from_status, not_a_stream
from ..protocol.flow import MISSING_ROUTE, Call, Flow, Gather
from ..protocol.headers import served_by
from ..protocol.retries import Retries
from ..protocol.stream import Delta, Request
from ..protocol.timeouts import Deadline
from .connection import Connection
from .diagnosis import broken, exception, unanswered
from .endpoint import Endpoint
from .server import Server
from .sockets import close_leaked_socket, keeps_alive

__all__ = [
    "LOST",
    "Gather",
    "Read",
    "Send",
    "Sleep",
    "Start",
    "Step",
    "Steps",
    "StreamedAnswer",
    "opened",
    "run",
]

T = TypeVar("T")

LOST = (httpx.RequestError, TimeoutError)
"""Errors of a connection that failed, or of a read that took too long."""

BUSY = 503


@dataclass(frozen=True, slots=True)
class Start:
    """Start a managed server, or wait until it is ready."""

    server: Server


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; the result is a response whose body has not been read."""

    endpoint: Endpoint
    request: httpx.Request


@dataclass(frozen=True, slots=True)
class Read:
    """Read the whole body of a response and close it; the result is its bytes."""

    response: httpx.Response
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


Step: TypeAlias = Start | Send | Read | Sleep | Gather
Steps: TypeAlias = Generator[Step, Any, T]


def run(connection: Connection, flow: Flow[T]) -> Steps[T]:
    """Make the calls of a flow, and return its result."""
    answer: Any = None
    while True:
        try:
            wanted = flow.send(answer)
        except StopIteration as end:
            return cast("T", end.value)
        if isinstance(wanted, Gather):
            answer = yield wanted
        elif wanted.optional:
            answer = yield from _optional(connection, wanted)
        else:
            answer = yield from _answer(connection, wanted)


def opened(connection: Connection, preparation: Flow[Request]) -> Steps[StreamedAnswer]:
    """Send the request of a flow, and return its answer, none of which has been read.

    Raises:
        openai.APIError: The server refused the request or could not be reached.
    """
    request = yield from run(connection, preparation)
    deadline, began = connection.deadline(), time.monotonic()
    call = Call(request.route, request.body, session=request.session)
    response = yield from _last_attempt(connection, call, deadline)
    if isinstance(response, Failure):
        raise exception(connection, response, call) from response.cause
    return StreamedAnswer(connection, request, response, deadline, began)


class StreamedAnswer:
    """One generation under way: ``feed`` it what arrives, and ``close`` it at the end.

    Attributes:
        response: The response that carries it.
        done: Whether nothing more needs to be read.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        response: httpx.Response,
        deadline: Deadline,
        began: float,
    ) -> None:
        self.response = response
        self.done = False
        self._connection = connection
        self._model = request.body.get("model")
        self._deadline = deadline
        self._stream = request.stream()
        self._stream.server = served_by(response.headers)
        self._buffering = connection.begin(began)
        self._is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        self._progress = False
        self._exceeded = "", 0.0

    @property
    def timeout(self) -> float:
        """Longest time that the next read may take, in seconds."""
        return self._deadline.timeout

    def feed(self, piece: bytes) -> list[Delta]:
        """Take the bytes of a read and return what they add to the answer.

        Raises:
            MlxcelStreamError: They are not a stream of events.
        """
        if not self._is_stream:
            raise self._not_a_stream(piece)
        deltas = self._stream.feed(piece)
        if self._buffering.undecided and deltas:
            self._buffering.observe(time.monotonic(), len(deltas))
        self._progress = bool(deltas)
        self.done = self._stream.done
        return deltas

    def renew(self) -> bool:
        """Renew the deadline after a read; return whether ``timeout`` has changed.

        Raises:
            TimeoutError: No time is left.
        """
        return self._deadline.renew(time.monotonic(), self._progress)

    def close(self) -> bool:
        """Check that the answer is complete; return whether its connection can be used again.

        Raises:
            MlxcelStreamError: It is not complete.
        """
        if not self._is_stream:
            raise self._not_a_stream(b"")
        self._stream.close()
        if not self.done:
            return False
        self._connection.learn(self._model, self._stream.model, self._buffering)
        return keeps_alive(self.response)

    def interrupted(self) -> float:
        """Note that a read failed; return the seconds to wait before saying why with ``fail``."""
        self._exceeded = self._deadline.exceeded(time.monotonic())
        return self._connection.settle_seconds

    def fail(self, error: Exception) -> None:
        """Say why a read failed, unless the answer was complete by then.

        Raises:
            MlxcelStreamError: The answer is not complete.
        """
        self._stream.close(*broken(self._connection, error, self._exceeded))

    def end(self) -> None:
        """Note that nobody reads it any more."""
        self._connection.end(self._buffering)

    def _not_a_stream(self, body: bytes) -> MlxcelStreamError:
        headers = self.response.headers
        where = self._connection.where(headers)
        return MlxcelStreamError(not_a_stream(headers.get("content-type", ""), body, where))


def _answer(connection: Connection, call: Call) -> Steps[Any]:
    """Return the JSON that answers a call, or a failure that the flow expects."""
    deadline = connection.deadline()
    answer = yield from _last_attempt(connection, call, deadline)
    if not isinstance(answer, Failure):
        return (yield from _json(connection, answer, call, deadline))
    if answer.status in call.expected:
        return answer
    raise exception(connection, answer, call) from answer.cause


def _optional(connection: Connection, call: Call) -> Steps[Any]:
    """Return the JSON that answers a call; None where the server does not offer it now."""
    deadline = connection.deadline()
    answer = yield from _attempt(connection, call, deadline)
    if isinstance(answer, Failure):
        if answer.status in MISSING_ROUTE or answer.status == BUSY:
            return None
        raise exception(connection, answer, call) from answer.cause
    try:
        return (yield from _json(connection, answer, call, deadline))
    except MlxcelError:
        return None


def _json(
    connection: Connection, response: httpx.Response, call: Call, deadline: Deadline
) -> Steps[Any]:
    try:
        return json.loads((yield Read(response, deadline)))
    except LOST as error:
        failure = unanswered(connection, error, deadline.exceeded(time.monotonic()))
        raise exception(connection, failure, call) from error
    except (ValueError, RecursionError):
        raise MlxcelError(
            f"{connection.where(response.headers)}: {call.path} did not answer JSON. Check that "
            "the address is that of an mlxcel server."
        ) from None


def _last_attempt(
    connection: Connection, call: Call, deadline: Deadline
) -> Steps[httpx.Response | Failure]:
    """Send a request as often as it may be sent, and return the outcome of the last attempt."""
    retries = Retries(connection.max_retries)
    while True:
        answer = yield from _attempt(connection, call, deadline)
        if not isinstance(answer, Failure):
            return answer
        delay = retries.delay(answer)
        if delay is None:
            return answer
        yield Sleep(delay)


def _attempt(
    connection: Connection, call: Call, deadline: Deadline
) -> Steps[httpx.Response | Failure]:
    """Send a request once; return a response of status 200 that has not been read, or why not."""
    if (server := connection.server) is not None:
        yield Start(server)
    try:
        deadline.renew(time.monotonic(), progress=False)
        request = connection.request(call, deadline.timeout)
        response: httpx.Response = yield Send(connection.endpoint, request)
        # From here on each read has a limit of its own.
        request.extensions["timeout"]["read"] = None
        if response.status_code == 200:
            return response
        body = yield Read(response, deadline)
    except LOST as error:
        exceeded = deadline.exceeded(time.monotonic())
        close_leaked_socket(error)
        yield Sleep(connection.settle_seconds)
        return unanswered(connection, error, exceeded)
    where = connection.where(response.headers)
    return from_status(response.status_code, response.headers, body, where)
