"""Steps of an exchange: each is something to wait for, and what a driver does."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

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
        response: Its status and headers.
        pieces: Iterator over its body, synchronous or asynchronous like the driver.
        deadline: The deadline of the next read.
        limit: The read timeout of its socket, in seconds; None if not set yet.
    """

    response: httpx.Response
    pieces: Any
    deadline: Deadline
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Start a managed server, or wait until it is ready."""

    server: Server


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until a place in the line has its turn."""

    place: Place
    timeout: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; the result is an ``Incoming`` whose body has not been read."""

    endpoint: Endpoint
    request: httpx.Request
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Next:
    """Read the next piece of a body; the result is None at its end."""

    incoming: Incoming


@dataclass(frozen=True, slots=True)
class Close:
    """Close a response that has not been read to its end."""

    response: httpx.Response


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


Step: TypeAlias = Start | Wait | Send | Next | Close | Sleep | Gather
Steps: TypeAlias = Generator[Step, Any, T]
