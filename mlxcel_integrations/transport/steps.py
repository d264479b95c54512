"""Steps of an exchange: each is something to wait for, and what a driver does."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

import httpx

from ..protocol.flow import Gather
from ..protocol.timeouts import Deadline
from .endpoint import Endpoint
from .line import Place
from .server import Server

__all__ = [
    "LOST",
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

LOST = (httpx.RequestError, TimeoutError)
"""Errors of a connection that failed, or of a read that took too long."""


@dataclass(slots=True)
class Incoming:
    """A response whose body is arriving.

    Attributes:
        response: The response of a transport, whose own methods are not used: they would unpack
            what is compressed.
        body: Its body, synchronous or asynchronous like the driver.
        pieces: Iterator over the body.
        deadline: The deadline of the next read.
        headers: The headers of the response, with lower-case names.
        ended: Whether its body has come to its end, or is closed.
    """

    response: httpx.Response
    body: Any
    pieces: Any
    deadline: Deadline
    # Not shown in a traceback with locals, since a server may send a key back in them.
    headers: dict[str, str] = field(init=False, repr=False)
    ended: bool = False

    def __post_init__(self) -> None:
        # httpx takes longer to look up one header than this takes for all of them.
        self.headers = {
            name.decode(errors="replace").lower(): value.decode(errors="replace")
            for name, value in self.response.headers.raw
        }


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
