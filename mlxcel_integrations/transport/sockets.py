"""Sockets below httpx: hanging up, and a leak of httpcore."""

from __future__ import annotations

import contextlib
import socket
import traceback
from collections.abc import Callable
from typing import Any

import httpx

from ..errors import causes

__all__ = ["close_leaked_socket", "hang_up", "wrap_backend"]


def wrap_backend(transport: object, wrapper: Callable[[Any], Any]) -> bool:
    """Let a wrapper make the connections of a transport; return whether that is possible.

    ``httpx`` and ``httpx2`` have no argument for this, only a private attribute of their pools.
    Other transports have no such pool, and stay as they are.

    Args:
        transport: A transport that has not been used yet.
        wrapper: Makes a network backend of ``httpcore`` from the one that the transport has.
    """
    pool = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    if pool is None or backend is None:
        return False
    pool._network_backend = wrapper(backend)
    return True


def close_leaked_socket(error: Exception) -> None:
    """Close the socket of a failed attempt to connect.

    httpcore 1.0 leaves it open for Unix sockets, in a frame of the traceback, which becomes a
    ``ResourceWarning`` in the user's program.
    """
    for cause in causes(error):
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            leaked = frame.f_locals.get("sock")
            if frame.f_code.co_name == "connect_unix_socket" and isinstance(leaked, socket.socket):
                leaked.close()


def hang_up(response: httpx.Response) -> None:
    """End the connection of a response at once, without waiting for anything."""
    connection = _socket(response)
    if connection is None or connection.fileno() < 0:
        return
    # By its number, since the sockets of uvloop have no shutdown().
    same = socket.socket(fileno=connection.fileno())
    try:
        with contextlib.suppress(OSError):
            same.shutdown(socket.SHUT_RDWR)
    finally:
        same.detach()


def _socket(response: httpx.Response) -> socket.socket | None:
    """Return the socket that a response comes from; transports for tests have none."""
    stream = response.extensions.get("network_stream")
    connection: socket.socket | None = stream.get_extra_info("socket") if stream else None
    return connection
