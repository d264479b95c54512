"""Sockets below httpx: limits of reads, hanging up, keep-alive, and a leak of httpcore."""

from __future__ import annotations

import contextlib
import socket
import struct
import traceback

import httpx

from ..errors import causes

__all__ = ["close_leaked_socket", "hang_up", "keeps_alive", "limit_reads"]


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


def limit_reads(response: httpx.Response, seconds: float | None) -> None:
    """Limit how long the next reads of a response may take, while it is being read.

    httpx fixes the limit before the first read; here it is given to the socket itself, which
    must have been put into blocking mode by reading with ``timeout=None``. A read that takes
    longer fails with ``BlockingIOError`` as its root cause.
    """
    connection = _socket(response)
    if connection is not None:
        whole, part = divmod(seconds or 0.0, 1)
        limit = struct.pack("@ll", int(whole), int(part * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def keeps_alive(response: httpx.Response) -> bool:
    """Tell whether the connection of a stream can be used again when the stream has ended.

    llama.cpp closes it although its headers say otherwise, and a request that is sent before this
    is noticed would be lost.
    """
    server: str | None = response.headers.get("server")
    return server != "llama.cpp"


def hang_up(response: httpx.Response) -> None:
    """End the connection of a response at once, without waiting for anything."""
    connection = _socket(response)
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _socket(response: httpx.Response) -> socket.socket | None:
    """Return the socket that a response comes from; transports for tests have none."""
    stream = response.extensions.get("network_stream")
    connection: socket.socket | None = stream.get_extra_info("socket") if stream else None
    return connection
