"""Steps of an exchange: what a driver carries out, and waits for."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import httpx

from ..protocol.flow import Gather
from ..protocol.headers import SERVED_BY
from ..protocol.timeouts import Deadline
from .endpoint import Endpoint
from .line import Place

if TYPE_CHECKING:
    from .server import Server

__all__ = [
    "CONNECTION_ERRORS",
    "Close",
    "Gather",
    "Incoming",
    "Next",
    "Send",
    "Sleep",
    "Start",
    "Step",
    "Steps",
    "Wait",
]

T = TypeVar("T")

CONNECTION_ERRORS = (httpx.RequestError, TimeoutError)
"""Errors of a connection that failed, or of a read that took too long."""


class Incoming:
    """A response whose body is arriving.

    Args:
        response: The response of a transport, whose own methods are not used: they would unpack
            what is compressed.
        closing: Closes it, synchronous or asynchronous like the driver.
        pieces: Iterator over its body.
        deadline: The deadline of the next read.

    Attributes:
        headers: The headers of the response, with lower-case names.
        server: Name of the server behind a balancer that answers, None if unknown.
        ended: Whether its body has come to its end, or is closed.
    """

    __slots__ = ("closing", "deadline", "ended", "headers", "pieces", "response", "server")

    def __init__(
        self, response: httpx.Response, closing: Any, pieces: Any, deadline: Deadline
    ) -> None:
        self.response = response
        self.closing = closing
        self.pieces = pieces
        self.deadline = deadline
        # httpx takes longer to look up one header than this takes for all of them. No repr shows
        # them, since a server may send a key back in them.
        self.headers = {
            name.decode(errors="replace").lower(): value.decode(errors="replace")
            for name, value in response.headers.raw
        }
        self.server = self.headers.get(SERVED_BY, "")[:80] or None
        self.ended = False


class Start(NamedTuple):
    """Start a managed server, or wait until it is ready."""

    server: Server


class Wait(NamedTuple):
    """Wait until a place in the line has its turn."""

    place: Place
    timeout: float


class Send(NamedTuple):
    """Send a request; the result is an ``Incoming`` whose body has not been read."""

    endpoint: Endpoint
    request: httpx.Request
    deadline: Deadline


class Next(NamedTuple):
    """Read the next piece of a body; the result is None at its end."""

    incoming: Incoming


class Close(NamedTuple):
    """Close a response, whether it has been read to its end or not."""

    incoming: Incoming


class Sleep(NamedTuple):
    """Wait for some seconds."""

    seconds: float


Step: TypeAlias = Start | Wait | Send | Next | Close | Sleep | Gather
Steps: TypeAlias = Generator[Step, Any, T]
