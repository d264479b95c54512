"""Generations: from a request that waits for a slot of the server to the first token.

The steps are those of ``exchange``.
"""

from __future__ import annotations

import math
import time

from ..protocol.connection_failures import no_slot
from ..protocol.discovery import reported, slots_listed, slots_of_owner, slots_to_respect
from ..protocol.failures import Failure
from ..protocol.flow import REJECTED_STATUSES, Call, CallFailed, Flow
from ..protocol.generation_request import Request
from ..protocol.retries import Retries
from ..protocol.strict_roles import refuses_ids, refuses_tools
from ..protocol.timeouts import Deadline, Timeouts
from .connection import Connection
from .exchange import ask_once, before_retry, respond, run
from .line import Place
from .steps import Close, Incoming, Steps, Wait
from .streamed_answer import StreamedAnswer

__all__ = ["follow_up_steps", "open_answer"]

HEALTH_SECONDS = 2.0
"""Longest wait for the slots of a server before a request is sent without knowing them."""


def open_answer(connection: Connection, preparation: Flow[Request]) -> Steps[StreamedAnswer]:
    """Send the request of a flow, and return its answer when the first token has come."""
    __tracebackhide__ = True
    deadline = Deadline(connection.timeouts, time.monotonic())
    request = yield from run(connection, preparation, deadline)
    return (yield from _answer_to(connection, request, deadline))


def follow_up_steps(connection: Connection, answer: StreamedAnswer) -> Steps[StreamedAnswer] | None:
    """Return the steps to the answer that follows this one, None if it was the last."""
    follow_up = answer.request.follow_up
    if follow_up is None:
        return None
    deadline = answer.incoming.deadline.following(time.monotonic())
    return _answer_to(connection, follow_up(answer.stream), deadline)


def _answer_to(
    connection: Connection, request: Request, deadline: Deadline
) -> Steps[StreamedAnswer]:
    """Send a request, and return its answer when the first token has come.

    If the server gives up before that, the request is sent again.

    Raises:
        MlxcelStreamError: The server gave up on the answer, or it was not a stream.
        openai.APIError: The server refused the request or could not be reached.
    """
    retries = Retries(connection.settings.max_retries)
    while True:
        call = Call(request.route, request.body, session=request.session)
        place = yield from _wait_for_slot(connection, call, deadline)
        try:
            began = time.monotonic()
            request, incoming = yield from _respond(connection, request, deadline, retries)
            if isinstance(incoming, Failure):
                if request.fallback is None or incoming.status not in REJECTED_STATUSES:
                    raise CallFailed(incoming, call)
                connection.line.leave(place)
                answer = yield from _answer_to(connection, request.fallback, deadline)
                # Only now, since the server may have refused something that both have.
                connection.refuses_begun = True
                return answer
            answer = StreamedAnswer(connection, request, incoming, began, place)
            yield from answer.begin()
            if answer.begun or not answer.stream.gave_up:
                return answer
            pause = retries.pause()
            if pause is None or not deadline.allows(pause, time.monotonic()):
                return answer
            answer.leave()
            yield Close(incoming)
        except BaseException:
            connection.line.leave(place)
            raise
        problem = f"{connection.endpoint} gave up on an answer before its first token."
        yield before_retry(problem, pause, retries)
        deadline.stands_still = False


def _respond(
    connection: Connection, request: Request, deadline: Deadline, retries: Retries
) -> Steps[tuple[Request, Incoming | Failure]]:
    """Send a request; again with other messages, schema or tools if the server refuses these.

    Returns:
        The request as it was answered, and its answer.
    """
    roles = connection.roles
    level, short_ids, body = roles.level, roles.short_ids, request.body
    if request.relaxable:
        body = connection.refused_schemas.adapted(body)
    while True:
        fitted = roles.fit(body, level, short_ids=short_ids)
        call = Call(request.route, fitted, session=request.session)
        response = yield from respond(connection, call, deadline, retries)
        if not isinstance(response, Failure):
            roles.level = max(roles.level, level)
            return request, response
        if request.without_tools is not None and refuses_tools(response):
            connection.refuses_tools = True
            request = request.without_tools()
            body = request.body
            if request.relaxable:
                body = connection.refused_schemas.adapted(body)
        elif not short_ids and refuses_ids(response):
            short_ids = roles.short_ids = True
        elif (higher := roles.after_refusal(response, request.body, level)) is not None:
            level = higher
        elif (
            request.relaxable
            and (relaxed := connection.refused_schemas.learn(request.body, response)) is not None
        ):
            body = relaxed
        else:
            return request, response


def _wait_for_slot(connection: Connection, call: Call, deadline: Deadline) -> Steps[Place | None]:
    """Wait in the line for a slot of the server, and return the place to give back."""
    line = connection.line
    place = line.enter()
    # The first request need not know how many may follow.
    if place is not None and place.done():
        return place
    try:
        if not (line.asked or (yield from _learn_slots(connection, deadline))):
            line.leave(place)
            return None
        if place is not None and not place.done():
            deadline.renew(time.monotonic(), progress=False)
            yield Wait(place, deadline.timeout)
            # A server that was loading can answer by now.
            if not line.slots_known:
                yield from _learn_slots(connection, deadline)
    except TimeoutError as error:
        line.leave(place)
        failure = no_slot(str(connection.endpoint), *deadline.exceeded(time.monotonic()), error)
        raise CallFailed(failure, call) from None
    except BaseException:
        line.leave(place)
        raise
    return place


def _learn_slots(connection: Connection, deadline: Deadline) -> Steps[bool]:
    """Ask the server for its slots; return whether it has said what it is.

    If it has not, the next request that meets others in the line asks again.
    """
    line = connection.line
    line.asked = True
    known = False
    try:
        # A busy server may not answer, and the request that asks must not wait long for that.
        now = time.monotonic()
        deadline.renew(now, progress=False)
        seconds = min(HEALTH_SECONDS, deadline.timeout / 2)
        limit = Deadline(Timeouts(timeout=seconds, total_timeout=seconds), now)
        health = yield from ask_once(connection, Call("/health"), limit)
        answered = reported(health)
        slots = slots_to_respect(answered)
        failed = isinstance(health, Failure) and (health.status is None or health.status >= 500)
        if slots == math.inf and not (isinstance(health, Failure) and health.busy):
            slots = yield from _listed_slots(connection, limit)
        known = slots != math.inf or not failed
        # A server that loads knows what it is, but not yet its slots.
        loading = failed and "tool_call_parser" in answered and "batch" not in answered
        if known and not loading:
            line.learn(slots)
    finally:
        line.asked = known
    return known


def _listed_slots(connection: Connection, limit: Deadline) -> Steps[float | None]:
    """Return the slots to respect by routes that a gateway without ``/health`` may pass on."""
    slots = slots_listed((yield from ask_once(connection, Call("/slots"), limit)))
    if slots != math.inf:
        return slots
    return slots_of_owner((yield from ask_once(connection, Call("/v1/models"), limit)))
