"""Flows: what takes several requests, told apart from the waiting for them.

A flow is a generator that yields what to ask, is sent the answers, and returns what it found out.
It decides; a client waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

__all__ = ["MISSING", "REFUSED", "Call", "Flow", "Gather"]

MISSING = frozenset({404, 405, 501})
"""Statuses of a route that a server does not have."""

REFUSED = MISSING | {400, 403, 413, 415, 422, 500}
"""Statuses of a request in a form, or of a size, that a server does not take."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        path: Path below the server's root.
        body: The JSON body to post; None for a GET.
        expected: Error statuses for which a flow is sent the ``Failure`` instead of JSON.
        session: Name of the conversation that it belongs to, None for that of the client.
    """

    path: str
    body: Mapping[str, Any] | None = None
    expected: frozenset[int] = MISSING
    session: str | None = None

    @property
    def method(self) -> str:
        """The method of HTTP."""
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True)
class Gather:
    """Flows that need not wait for each other; the answer is the list of their results.

    Attributes:
        flows: The flows.
        at_once: How many of them may wait for the server at the same time.
        done: Called with each result, by the one who waits for all.
    """

    flows: Sequence[Flow[Any]]
    at_once: int
    done: Callable[[Any], object]


Flow: TypeAlias = Generator[Call | Gather, Any, T]
