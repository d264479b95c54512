"""Exchanges with one server: the steps to wait for, and the meaning of what arrives.

A flow of ``protocol`` yields calls. The generators here turn them into steps, and decide on
retries, limits and errors. A driver does the steps: ``SyncDriver`` in a thread, ``AsyncDriver`` in
a task. It throws errors into the generator, so that ``except`` works as usual.
"""

from __future__ import annotations

import json
import time
from typing import Any, TypeVar, cast

from ..errors import MlxcelError, MlxcelStreamError
from ..protocol.failures import Failure, from_status, no_slot, not_a_stream
from ..protocol.features import slots_to_respect
from ..protocol.flow import MISSING_ROUTE, Call, Flow, Gather
from ..protocol.headers import served_by
from ..protocol.message_tokens import chat_to_check
from ..protocol.retries import Retries
from ..protocol.stream import CONNECTION_ENDED, Delta, Request
from ..protocol.timeouts import Deadline, Timeouts
from ..protocol.validation import as_object
from ..secret import begun_at_end, redacted
from .connection import Connection
from .diagnosis import broken, exception, hide_secrets, log_tail, unanswered
from .line import Place
from .sockets import close_leaked_socket, keeps_alive
from .steps import LOST, Close, Incoming, Next, Send, Sleep, Start, Steps, Wait

__all__ = ["StreamedAnswer", "opened", "run", "started"]

T = TypeVar("T")

BUSY = 503

HEALTH_SECONDS = 2.0
"""Longest wait for the slots of a server before a request is sent without knowing them."""

ERROR_BYTES = 64 * 1024
"""Most bytes that are read of the body of an error."""


def started(connection: Connection) -> Steps[None]:
    """Start the managed server, if there is one and it is not running."""
    server = connection.server
    if server is not None:
        yield Start(server)


def run(connection: Connection, flow: Flow[T]) -> Steps[T]:
    """Make the calls of a flow, and return its result."""
    answer: Any = None
    while True:
        try:
            wanted = flow.send(answer)
        except StopIteration as end:
            return cast("T", end.value)
        except Exception as error:
            hide_secrets(error)
            raise
        if isinstance(wanted, Gather):
            answer = yield wanted
        elif wanted.optional:
            answer = yield from _optional(connection, wanted)
        else:
            answer = yield from _answer(connection, wanted)


def opened(connection: Connection, preparation: Flow[Request]) -> Steps[StreamedAnswer]:
    """Send the request of a flow, and return its answer when the first token has come.

    If the server gives up before that, the request is sent again.

    Raises:
        MlxcelStreamError: The server gave up on the answer, or it was not a stream.
        openai.APIError: The server refused the request or could not be reached.
    """
    request = yield from run(connection, preparation)
    # A start has limits of its own.
    yield from started(connection)
    deadline = connection.deadline()
    retries = Retries(connection.max_retries)
    call = Call(request.route, request.body, session=request.session)
    place = yield from _turn(connection, call, deadline)
    try:
        while True:
            began = time.monotonic()
            incoming = yield from _last_attempt(connection, call, deadline, retries)
            if isinstance(incoming, Failure):
                raise exception(connection, incoming, call) from incoming.cause
            answer = StreamedAnswer(connection, request, incoming, began, place)
            yield from _first_token(answer)
            pause = retries.pause() if answer.gave_up and not answer.begun else None
            if pause is None:
                return answer
            answer.end()
            yield Close(incoming.response)
            yield Sleep(pause)
            place = yield from _turn(connection, call, deadline)
    except BaseException:
        connection.line.leave(place)
        raise


def _turn(connection: Connection, call: Call, deadline: Deadline) -> Steps[Place | None]:
    """Wait in the line for a slot of the server, and return the place to give back."""
    line = connection.line
    place = line.enter()
    # The first request need not know how many may follow.
    if place is not None and place.done():
        return place
    try:
        if not line.asked and not (yield from _learn_slots(connection)):
            line.leave(place)
            return None
        if place is not None and not place.done():
            deadline.renew(time.monotonic(), progress=False)
            yield Wait(place, deadline.timeout)
            # A server that was loading can tell by now.
            if not line.known:
                yield from _learn_slots(connection)
    except TimeoutError as error:
        line.leave(place)
        failure = no_slot(str(connection.endpoint), *deadline.exceeded(time.monotonic()), error)
        raise exception(connection, failure, call) from error
    except BaseException:
        line.leave(place)
        raise
    return place


def _learn_slots(connection: Connection) -> Steps[bool]:
    """Ask the server for its slots; return whether it has told what it is.

    Where it has not, the next request that meets others in the line asks again.
    """
    line = connection.line
    line.asked = True
    told = False
    try:
        # A server may be deaf while it works, and the request that asks must not wait for that.
        deadline = Deadline(Timeouts(timeout=HEALTH_SECONDS), time.monotonic())
        health = yield from _ask_once(connection, Call("/health"), deadline)
        body = as_object(health.body if isinstance(health, Failure) else health)
        failed = isinstance(health, Failure) and (health.status is None or health.status >= 500)
        # mlxcel answers 503 with all it knows when it is busy, but for its slots while it loads.
        told = "tool_call_parser" in body or not failed
        if "batch" in body or not failed:
            line.learn(slots_to_respect(body))
    finally:
        line.asked = told
    return told


def _first_token(answer: StreamedAnswer) -> Steps[None]:
    """Read an answer until its first token, or until its end if there is none."""
    incoming = answer.incoming
    try:
        while not (answer.begun or answer.done):
            piece = yield Next(incoming)
            if piece is None:
                break
            answer.first, piece = answer.feed(piece), b""
            incoming.deadline.renew(time.monotonic(), bool(answer.first))
    except LOST as error:
        answer.end()
        yield Close(incoming.response)
        yield Sleep(answer.interrupted())
        answer.fail(error)
    except BaseException as error:
        answer.end()
        # A generator that is being closed cannot yield another step.
        if not isinstance(error, GeneratorExit):
            yield Close(incoming.response)
        raise


class StreamedAnswer:
    """An answer that is arriving: ``feed`` it each piece, and ``close`` it at the end.

    Attributes:
        incoming: The response that carries it.
        first: The deltas up to the first token.
        done: Whether nothing more needs to be read.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        incoming: Incoming,
        began: float,
        place: Place | None,
    ) -> None:
        self.incoming = incoming
        self.first: list[Delta] = []
        self.done = False
        self._connection = connection
        self._model = request.body.get("model")
        self._to_check = chat_to_check(request.body, connection.tokens)
        self._deadline = incoming.deadline
        self._place = place
        headers = incoming.response.headers
        self._stream = request.stream()
        self._stream.server = served_by(headers)
        self._buffering = connection.begin(began, self._stream.server)
        self._is_stream = headers.get("content-type", "").startswith("text/event-stream")
        self._exceeded = "", 0.0
        self._lost = False
        self._sample = b""

    @property
    def begun(self) -> bool:
        """Whether a token has come."""
        return bool(self.first or self._stream.text)

    @property
    def gave_up(self) -> bool:
        """Whether the server has said that it could not go on."""
        return self._stream.gave_up

    def feed(self, piece: bytes) -> list[Delta]:
        """Take the bytes of a read, and return the deltas that they complete.

        ``close`` raises any error in them.
        """
        if not self._is_stream:
            self.done, self._sample = True, redacted(piece[: begun_at_end(piece, least=4)])
            return []
        deltas = self._stream.feed(piece)
        if self._buffering.undecided and deltas:
            self._buffering.observe(time.monotonic(), len(deltas))
        self.done = self._stream.done
        return deltas

    def close(self) -> bool:
        """Check that the answer is complete; return whether its connection can be used again.

        Raises:
            MlxcelStreamError: The answer is not complete.
        """
        if not self._is_stream:
            raise self._not_a_stream()
        self._close(log=log_tail(self._connection) if self._stream.gave_up else "")
        if not self.done or self._lost:
            return False
        self._connection.learn(self._model, self._stream.model, self._buffering)
        if self._to_check is not None and self._stream.prompt_tokens is not None:
            self._connection.tokens.answered = self._to_check, self._stream.prompt_tokens
        return keeps_alive(self.incoming.response) and not self._stream.left

    def interrupted(self) -> float:
        """Note that a read failed; return the seconds to wait before calling ``fail``."""
        self.done = self._lost = True
        self._exceeded = self._deadline.exceeded(time.monotonic())
        return self._connection.settle_seconds

    def fail(self, error: Exception) -> None:
        """Raise the error for a read that failed, unless the answer was complete by then.

        Raises:
            MlxcelStreamError: The answer is not complete.
        """
        self._close(*broken(self._connection, error, self._exceeded))

    def end(self) -> None:
        """Note that it is not read any further."""
        self._connection.end(self._buffering, self._place)

    def _close(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        try:
            self._stream.close(reason, log)
        except MlxcelStreamError as error:
            hide_secrets(error)
            raise

    def _not_a_stream(self) -> MlxcelStreamError:
        headers = self.incoming.response.headers
        content_type = redacted(headers.get("content-type", ""))
        where = self._connection.where(headers)
        return MlxcelStreamError(not_a_stream(content_type, self._sample, where))


def _answer(connection: Connection, call: Call) -> Steps[Any]:
    """Return the JSON that answers a call, or a failure that the flow expects."""
    retries = Retries(connection.max_retries)
    answer = yield from _last_attempt(connection, call, connection.deadline(), retries)
    if not isinstance(answer, Failure):
        answer = yield from _json(connection, answer, call)
    if isinstance(answer, Failure) and answer.status not in call.expected:
        raise exception(connection, answer, call) from answer.cause
    connection.pass_on_template_failure()
    return answer


def _optional(connection: Connection, call: Call) -> Steps[Any]:
    """Return the JSON that answers a call; a failure if the route is missing or the server busy."""
    answer = yield from _ask_once(connection, call, connection.deadline())
    if isinstance(answer, Failure) and answer.status not in {*MISSING_ROUTE, BUSY}:
        raise exception(connection, answer, call) from answer.cause
    return answer


def _ask_once(connection: Connection, call: Call, deadline: Deadline) -> Steps[Any]:
    """Send a request once; return the JSON of its answer, None if it is not JSON, or a failure."""
    answer = yield from _attempt(connection, call, deadline)
    if isinstance(answer, Failure):
        return answer
    try:
        return (yield from _json(connection, answer, call))
    except MlxcelError:
        return None


def _json(connection: Connection, incoming: Incoming, call: Call) -> Steps[Any]:
    """Return the JSON of a response, or a failure if it breaks off.

    Raises:
        MlxcelError: It is not JSON.
    """
    try:
        body = yield from _body(incoming, call.most_bytes)
        if len(body) > call.most_bytes:
            raise MlxcelError(
                f"{connection.where(incoming.response.headers)}: {call.path} returned more than "
                f"{call.most_bytes:,} bytes. Ask for less at once, and check that the address is "
                "that of an mlxcel server."
            )
        answer = _loaded(body)
    except LOST as error:
        return unanswered(connection, error, incoming.deadline.exceeded(time.monotonic()))
    if answer is _NOT_JSON:
        where = connection.where(incoming.response.headers)
        # A traceback with locals would show a key in it.
        del body
        raise MlxcelError(
            f"{where}: {call.path} did not return JSON. Check that the address is that of an "
            "mlxcel server."
        )
    return answer


_NOT_JSON = object()


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _last_attempt(
    connection: Connection, call: Call, deadline: Deadline, retries: Retries
) -> Steps[Incoming | Failure]:
    """Send a request with retries, and return the outcome of the last attempt."""
    while True:
        answer = yield from _attempt(connection, call, deadline)
        if not isinstance(answer, Failure):
            return answer
        delay = retries.delay(answer)
        if delay is None:
            return answer
        yield Sleep(delay)


def _attempt(connection: Connection, call: Call, deadline: Deadline) -> Steps[Incoming | Failure]:
    """Send a request once; return the unread response if its status is 200, or the failure."""
    yield from started(connection)
    try:
        deadline.renew(time.monotonic(), progress=False)
        request = connection.request(call, deadline.timeout)
        incoming: Incoming = yield Send(connection.endpoint, request, deadline)
        # From here on, each read has its own limit.
        request.extensions["timeout"]["read"] = None
        yield from _refuse_encoding(connection, incoming)
        if incoming.response.status_code == 200:
            return incoming
        body = yield from _body(incoming, ERROR_BYTES)
    except LOST as error:
        exceeded = deadline.exceeded(time.monotonic())
        close_leaked_socket(error)
        yield Sleep(connection.settle_seconds)
        return unanswered(connection, error, exceeded)
    headers = incoming.response.headers
    where = connection.where(headers)
    return from_status(incoming.response.status_code, headers, redacted(body), where)


def _body(incoming: Incoming, most: int) -> Steps[bytes]:
    """Read a body and close its response; of one that is larger than allowed, read a bit more."""
    pieces, size = [], 0
    try:
        while size <= most and (piece := (yield Next(incoming))) is not None:
            pieces.append(piece)
            size += len(piece)
            incoming.deadline.renew(time.monotonic(), progress=False)
    except GeneratorExit:
        raise
    except BaseException:
        # A traceback with locals would show a key in them.
        pieces, piece = [], None
        yield Close(incoming.response)
        raise
    yield Close(incoming.response)
    return b"".join(pieces)


def _refuse_encoding(connection: Connection, incoming: Incoming) -> Steps[None]:
    """Refuse a compressed body: a small one may unpack to more than the memory holds.

    Raises:
        MlxcelStreamError: It is compressed, although this was not asked for.
    """
    if (encoding := incoming.response.headers.get("content-encoding", "identity")) != "identity":
        encoding = redacted(encoding)
        yield Close(incoming.response)
        raise MlxcelStreamError(
            f"{connection.where(incoming.response.headers)} compressed its answer "
            f"({encoding!r:.40}), although this was not requested. Turn off compression in the "
            "proxy in front of the server."
        )
