"""The connection pool of the threads of one process, and what is done to its sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator

import httpx

from ..errors import causes
from .endpoint import MOST_CONNECTIONS, Endpoint

__all__ = ["Pool", "close_leaked_socket", "hang_up", "keeps_alive", "limit_reads"]


class Pool:
    """The connections of the threads of one process to one server.

    Args:
        transport: Used instead of one that is made for the address.
    """

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._given = transport
        self._known: tuple[Endpoint, httpx.BaseTransport] | None
        self._inherited: object = None
        self._forget()

    def transport(self, endpoint: Endpoint) -> httpx.BaseTransport:
        """Return the transport to an address, a new one if the server has moved."""
        if self._given is not None:
            return self._given
        if self._process != os.getpid():
            # The parent goes on using these connections: a forked child must not touch them,
            # not even to close them, and the lock may have been held at the moment of the fork.
            self._inherited = self._known
            self._forget()
        known = self._known
        if known is not None and known[0] == endpoint:
            return known[1]
        with self._lock:
            if self._known is None or self._known[0] != endpoint:
                self._drop()
                self._known = endpoint, endpoint.transport()
            return self._known[1]

    def send(self, endpoint: Endpoint, request: httpx.Request) -> httpx.Response:
        """Send a request when one of the connections is free for it.

        The line of those who wait is here: httpcore, with each request that comes or goes, looks
        at all connections for each of those in its own, so that 1,000 at once take minutes.

        Raises:
            httpx.RequestError: There is no response.
        """
        transport, places = self.transport(endpoint), self._places
        wait = min(request.extensions["timeout"]["pool"], threading.TIMEOUT_MAX)
        if not places.acquire(timeout=wait):
            raise httpx.PoolTimeout("No connection is free.", request=request)
        try:
            response = transport.handle_request(request)
            assert isinstance(response.stream, httpx.SyncByteStream)
        except BaseException:
            places.release()
            raise
        stream = response.extensions.get("network_stream")

        def closed() -> None:
            # httpcore forgets a connection that is being made when its pool is closed.
            if stream is not None and not self._has(transport):
                stream.close()
            places.release()

        response.stream = _Body(response.stream, closed)
        return response

    def close(self) -> None:
        """Close all connections."""
        if self._process == os.getpid():
            with self._lock:
                self._drop()

    def _has(self, transport: httpx.BaseTransport) -> bool:
        known = self._known
        return transport is self._given or (known is not None and known[1] is transport)

    def _drop(self) -> None:
        # In this order: a connection that is made meanwhile is closed here, or by who has made it.
        known, self._known = self._known, None
        if known is not None:
            known[1].close()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._known = None
        self._places = threading.Semaphore(MOST_CONNECTIONS)


class _Body(httpx.SyncByteStream):
    """The body of a response, which tells when it is closed, once."""

    def __init__(self, body: httpx.SyncByteStream, closed: Callable[[], None]) -> None:
        self._body = body
        self._closed: Callable[[], None] | None = closed

    def __iter__(self) -> Iterator[bytes]:
        return self._body.__iter__()

    def close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            try:
                self._body.close()
            finally:
                closed()


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
