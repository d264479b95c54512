"""``Server`` and ``ServerLease``: a managed server, as the transport sees it.

Classes of the supervisor implement these protocols; the transport does not import them.
"""

from __future__ import annotations

import socket
from typing import Protocol, Self

from ..protocol.features import TrainedContext
from .endpoint import Endpoint

__all__ = ["Server", "ServerLease"]


class Server(Protocol):
    """A server process that this package has started."""

    @property
    def model(self) -> str:
        """The model that it serves, as the user names it."""

    @property
    def model_name(self) -> str:
        """The name under which it serves the model."""

    @property
    def trained_context(self) -> TrainedContext | None:
        """The context window of its model, None if unknown or if the user has set another."""

    @property
    def reads_only_text(self) -> bool:
        """Whether the files of its model show that it reads nothing but text."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, once it has started."""

    @property
    def state(self) -> str:
        """``ready`` while it answers."""

    @property
    def log_tail(self) -> str:
        """The last lines that it printed."""

    def is_peer(self, connection: socket.socket) -> bool:
        """Return whether it holds the other end of a connection."""

    def take_template_failure(self) -> str | None:
        """Return why it makes up its own prompt; each reason only once."""

    def start(self) -> Self:
        """Start it, or wait until it is ready."""

    async def astart(self) -> Self:
        """Start it without blocking the event loop."""

    def end(self) -> str | None:
        """Return how it ended, None while it runs."""

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""


class ServerLease(Protocol):
    """The right to use a server, until it is released."""

    @property
    def alive(self) -> bool:
        """Whether it has not been released."""

    @property
    def server(self) -> Server:
        """The server."""

    def release(self) -> None:
        """Give the server back; it stops when nothing else uses it."""
