"""Calls of a flow: the steps to wait for, and the meaning of what arrives.

A flow of ``protocol`` yields calls. The generators here turn them into steps, and decide on
retries, limits and errors. A driver carries the steps out: ``SyncDriver`` in a thread,
``AsyncDriver`` in a task. It throws errors into the generator, so that ``except`` works as usual.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TypeVar, cast

from ..errors import MlxcelError, MlxcelStreamError, program_is_ending
from ..protocol.failures import Failure, from_status
from ..protocol.flow import Call, CallFailed, Flow, Gather
from ..protocol.retries import Retries
from ..protocol.timeouts import Deadline
from ..protocol.validation import NOT_JSON, from_json
from ..secret import redacted
from .connection import Connection
from .diagnosis import hide_secrets, unanswered
from .sockets import close_leaked_socket
from .steps import CONNECTION_ERRORS, Close, Incoming, Next, Send, Sleep, Start, Steps

__all__ = ["ask_once", "before_retry", "ensure_started", "respond", "run"]

retry_logger = logging.getLogger("mlxcel.client")

T = TypeVar("T")


ERROR_BYTES = 64 * 1024
"""Most bytes that are read of the body of an error."""


def ensure_started(connection: Connection, deadline: Deadline | None = None) -> Steps[None]:
    """Start the managed server, if there is one and it is not running.

    Args:
        connection: The server.
        deadline: The deadline of the request that needs it, which is extended by the start.
    """
    server = connection.server
    if server is not None:
        began = time.monotonic()
        yield Start(server)
        if deadline is not None:
            deadline.extend(time.monotonic() - began)


def run(connection: Connection, flow: Flow[T], deadline: Deadline | None = None) -> Steps[T]:
    """Make the calls of a flow, and return its result.

    Args:
        connection: The server.
        flow: The flow.
        deadline: The deadline of the request that needs its result, None without one. Flows that
            it gathers have separate deadlines.

    Raises:
        MlxcelServerError: The program is ending.
    """
    __tracebackhide__ = True
    if sys.is_finalizing():
        raise program_is_ending()
    answer: Any = None
    current = deadline or Deadline(connection.timeouts, time.monotonic())
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
            current = deadline or Deadline(connection.timeouts, time.monotonic())
        else:
            answer = yield from _json_answer(connection, wanted, current)


def _json_answer(connection: Connection, call: Call, deadline: Deadline) -> Steps[Any]:
    """Return the JSON that answers a call, or a failure that the flow expects."""
    if call.optional:
        answer = yield from ask_once(connection, call, deadline)
    else:
        answer = yield from respond(
            connection, call, deadline, Retries(connection.settings.max_retries)
        )
        if not isinstance(answer, Failure):
            answer = yield from _read_json(connection, answer, call)
    if isinstance(answer, Failure) and not call.accepts(answer):
        raise CallFailed(answer, call)
    connection.pass_on_template_failure()
    return answer


def ask_once(connection: Connection, call: Call, deadline: Deadline) -> Steps[Any]:
    """Send a request once; return the JSON of its answer, None if it is not JSON, or a failure."""
    answer = yield from _attempt(connection, call, deadline)
    if isinstance(answer, Failure):
        return answer
    try:
        return (yield from _read_json(connection, answer, call))
    except MlxcelError:
        return None


def respond(
    connection: Connection, call: Call, deadline: Deadline, retries: Retries
) -> Steps[Incoming | Failure]:
    """Send a request with retries; return the unread response, or the last failure."""
    while True:
        answer = yield from _attempt(connection, call, deadline)
        if not isinstance(answer, Failure):
            return answer
        pause = retries.delay(answer)
        if pause is None or not deadline.allows(pause, time.monotonic()):
            return answer
        yield before_retry(answer.message, pause, retries)


def before_retry(problem: str, pause: float, retries: Retries) -> Sleep:
    """Return the step before a request is sent again, after logging why."""
    # A server's own words may have several lines.
    retry_logger.info(
        "%s Sent again in %.1f s, %s.", " ".join(problem.split()), pause, retries.coming
    )
    return Sleep(pause)


def _attempt(connection: Connection, call: Call, deadline: Deadline) -> Steps[Incoming | Failure]:
    """Send a request once; return the unread response if its status is 200, or the failure."""
    if connection.lease is not None:
        yield from ensure_started(connection, deadline)
    try:
        deadline.renew(time.monotonic(), progress=False)
        endpoint = connection.endpoint
        request = connection.request(call, endpoint, deadline.timeout)
        incoming: Incoming = yield Send(endpoint, request, deadline)
        if incoming.headers.get("content-encoding", "identity") != "identity":
            yield Close(incoming)
            raise _compression_error(connection, incoming)
        if incoming.response.status_code == 200:
            return incoming
        body = yield from _read_body(incoming, ERROR_BYTES)
    except CONNECTION_ERRORS as error:
        exceeded = deadline.exceeded(time.monotonic())
        close_leaked_socket(error)
        yield Sleep(connection.settle_seconds)
        return unanswered(connection, error, exceeded)
    where = connection.where(incoming.server)
    return from_status(incoming.response.status_code, incoming.headers, redacted(body), where)


def _compression_error(connection: Connection, incoming: Incoming) -> MlxcelStreamError:
    """Return the error for a compressed body, which may be larger than the memory when unpacked."""
    encoding = redacted(incoming.headers["content-encoding"])
    return MlxcelStreamError(
        f"{connection.where(incoming.server)} compressed its answer ({encoding!r:.40}), although "
        "this was not requested. Turn off compression in the proxy in front of the server."
    )


def _read_json(connection: Connection, incoming: Incoming, call: Call) -> Steps[Any]:
    """Return the JSON of a response, or a failure if it breaks off.

    Raises:
        MlxcelError: It is not JSON.
    """
    try:
        body = yield from _read_body(incoming, call.most_bytes)
    except CONNECTION_ERRORS as error:
        return unanswered(connection, error, incoming.deadline.exceeded(time.monotonic()))
    if len(body) > call.most_bytes:
        raise MlxcelError(
            f"{connection.where(incoming.server)}: {call.path} returned more than "
            f"{call.most_bytes:,} bytes. Ask for less at once, and check that the address is "
            "that of an mlxcel server."
        )
    answer = from_json(body)
    # A traceback with locals would show a key in it.
    del body
    if answer is NOT_JSON:
        raise MlxcelError(
            f"{connection.where(incoming.server)}: {call.path} did not return JSON. Check that "
            "the address is that of an mlxcel server."
        )
    return answer


def _read_body(incoming: Incoming, most: int) -> Steps[bytes]:
    """Read a body, up to just above the limit, and close its response."""
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
        yield Close(incoming)
        raise
    yield Close(incoming)
    return b"".join(pieces)
