"""Flows: operations of one or more calls, which leave the waiting for answers to a driver.

A flow is a generator. It yields calls, is sent their answers, and returns its result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .failures import Failure

__all__ = ["MISSING_ROUTE_STATUSES", "REJECTED_STATUSES", "Call", "CallFailed", "Flow", "Gather"]

MISSING_ROUTE_STATUSES = frozenset({404, 405, 501})
"""Statuses of a route that a server does not have."""

UNAVAILABLE_STATUSES = MISSING_ROUTE_STATUSES | {503}
"""Statuses of a server that lacks a route, or is too busy for it."""

REJECTED_STATUSES = MISSING_ROUTE_STATUSES | {400, 403, 413, 415, 422, 500}
"""Statuses of a request whose form or size a server does not accept."""

T = TypeVar("T")


class Call(NamedTuple):
    """One request.

    Attributes:
        path: Path below the server's root.
        body: The JSON body to post; None for a GET.
        expected: Error statuses for which a flow is sent the ``Failure`` instead of JSON.
        handles: Returns whether another failure is sent to the flow instead of JSON, too; None if
            no other is.
        session: Name of the conversation that it belongs to, None for that of the client.
        optional: Whether the flow can do without an answer: it is sent the ``Failure`` at once if
            the server lacks the route or is busy, and None if the answer is not JSON.
        most_bytes: Largest answer that is read.
    """

    path: str
    body: Mapping[str, Any] | None = None
    expected: frozenset[int] = MISSING_ROUTE_STATUSES
    handles: Callable[[Failure], bool] | None = None
    session: str | None = None
    optional: bool = False
    most_bytes: int = 64 * 1024 * 1024

    def accepts(self, failure: Failure) -> bool:
        """Return whether a flow is sent a failure, instead of ending with an exception."""
        expected = UNAVAILABLE_STATUSES if self.optional else self.expected
        known = failure.status in expected
        return known or (self.handles is not None and self.handles(failure))

    @property
    def method(self) -> str:
        """HTTP method."""
        return "GET" if self.body is None else "POST"


class CallFailed(Exception):
    """A call failed, and its flow ends; the driver raises the exception that a user sees.

    Args:
        failure: What went wrong.
        call: The call.
    """

    def __init__(self, failure: Failure, call: Call) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.call = call


class Gather(NamedTuple):
    """Flows that can run at the same time; the answer is the list of their results.

    Attributes:
        flows: The flows.
        at_once: How many of them may wait for the server at the same time.
        done: Called with each result, in the thread or task that waits for all of them.
    """

    flows: Sequence[Flow[Any]]
    at_once: int
    done: Callable[[Any], object]


Flow: TypeAlias = Generator[Call | Gather, Any, T]
