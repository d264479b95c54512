"""Specification of a server to start: its model, its options, its address and its key."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..options.fields import ServerOptions
from ..options.names import server_options
from ..secret import Secret
from ..transport.endpoint import absolute_model, absolute_path
from ..unix_sockets import check_socket_length

__all__ = ["ServerSpec"]

_MAX_GRACE = 1e8
"""Three years, in seconds: the timers of the system do not accept infinity."""


class ServerSpec(NamedTuple):
    """A server to start.

    Attributes:
        model: The model to serve.
        options: Options of the server and of its start.
        socket: Path of the socket to listen on, None for a private one.
        api_key: Key that the server asks for.
    """

    model: str
    options: ServerOptions
    socket: str | None = None
    api_key: Secret | None = None

    @classmethod
    def of(
        cls,
        model: str | os.PathLike[str],
        socket: str | os.PathLike[str] | None,
        api_key: Secret | None,
        options: dict[str, Any],
    ) -> ServerSpec:
        """Return the specification from a user's arguments, which are checked.

        Args:
            model: As the user names it.
            socket: Path of the socket to listen on, None for a private one.
            api_key: Key that the server asks for.
            options: Fields of ``ServerOptions``.

        Raises:
            MlxcelError: An option is unknown, or a value cannot be used.
        """
        path = absolute_path(socket, "socket") if socket is not None else None
        if path is not None:
            check_socket_length(path, "socket=")
        return cls(absolute_model(model), server_options(options), path, api_key)

    @property
    def grace(self) -> float:
        """Time from SIGTERM to SIGKILL, in seconds."""
        return min(self.options.shutdown_grace, _MAX_GRACE)

    @property
    def takes_free_port(self) -> bool:
        """Whether it listens on any port that is free."""
        return self.options.host is not None and self.options.port is None
