"""Connection pools: one for all threads of a process, one for each event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import traceback
from collections.abc import AsyncGenerator

import httpx

from .endpoint import Endpoint

__all__ = ["AsyncPools", "Pool", "close_unconnected", "wait_at_most"]


class Pool:
    """The connections of the threads of one process.

    Args:
        transport: Used instead of one that is made for the address.
    """

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._given = transport
        self._inherited: object = None
        self._forget()

    def transport(self, endpoint: Endpoint) -> httpx.BaseTransport:
        """Return the transport to an address, a new one if there is none yet."""
        if self._given is not None:
            return self._given
        if self._process != os.getpid():
            # The parent goes on using these connections: a forked child must not touch them,
            # not even to close them, and the lock may have been held at the moment of the fork.
            self._inherited = self._transports
            self._forget()
        known = self._transports.get(endpoint)
        if known is not None:
            return known
        with self._lock:
            if endpoint not in self._transports:
                self._transports[endpoint] = endpoint.transport()
            return self._transports[endpoint]

    def close(self) -> None:
        """Close all connections."""
        if self._process == os.getpid():
            with self._lock:
                transports = list(self._transports.values())
                self._transports.clear()
            for transport in transports:
                transport.close()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._transports: dict[Endpoint, httpx.BaseTransport] = {}


class AsyncPools:
    """The connections of each event loop, closed with it.

    Args:
        transport: Used instead of ones that are made for the address.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._given = transport
        self._inherited: object = None
        self._forget()

    async def transport(self, endpoint: Endpoint) -> httpx.AsyncBaseTransport:
        """Return the transport to an address in the running loop, new if there is none yet."""
        if self._given is not None:
            return self._given
        if self._process != os.getpid():
            self._inherited = self._guards
            self._forget()
        loop = asyncio.get_running_loop()
        known = self._transports.get((loop, endpoint))
        if known is not None:
            return known
        transport = endpoint.async_transport()
        guard = _closed_with_loop(transport)
        with self._lock:
            for key in [key for key in self._transports if key[0].is_closed()]:
                del self._transports[key], self._guards[key]
            self._transports[loop, endpoint] = transport
            self._guards[loop, endpoint] = guard
        await anext(guard)
        return transport

    async def close(self) -> None:
        """Close the connections of the running loop; other loops close theirs when they end."""
        loop = asyncio.get_running_loop()
        with self._lock:
            keys = [key for key in self._transports if key[0] is loop]
            guards = [self._guards.pop(key) for key in keys]
            for key in keys:
                del self._transports[key]
        for guard in guards:
            await guard.aclose()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._transports: dict[
            tuple[asyncio.AbstractEventLoop, Endpoint], httpx.AsyncBaseTransport
        ] = {}
        self._guards: dict[
            tuple[asyncio.AbstractEventLoop, Endpoint], AsyncGenerator[None, None]
        ] = {}


async def _closed_with_loop(transport: httpx.AsyncBaseTransport) -> AsyncGenerator[None, None]:
    """Close a transport when the loop ends, or when nobody refers to it any more.

    A loop closes the asynchronous generators that run in it before it ends itself
    (``loop.shutdown_asyncgens``), and those that are collected: the only hook for this that
    every event loop offers.
    """
    try:
        yield
    finally:
        await transport.aclose()


def close_unconnected(error: httpx.TransportError) -> None:
    """Close the socket of a failed attempt to connect.

    httpcore 1.0 leaves it open for Unix sockets, in a frame of the traceback, which becomes a
    ``ResourceWarning`` in the user's program.
    """
    cause: BaseException | None = error
    while cause is not None:
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            leaked = frame.f_locals.get("sock")
            if frame.f_code.co_name == "connect_unix_socket" and isinstance(leaked, socket.socket):
                leaked.close()
        cause = cause.__cause__ or cause.__context__


def wait_at_most(response: httpx.Response, seconds: float | None) -> None:
    """Limit how long the next reads of a response may take, while it is being read.

    httpx fixes the limit before the first read; here it is given to the socket itself, which
    must have been put into blocking mode by reading with ``timeout=None``. A read that takes
    longer fails with ``BlockingIOError`` as its root cause.
    """
    stream = response.extensions.get("network_stream")
    connection: socket.socket | None = stream.get_extra_info("socket") if stream else None
    if connection is not None:
        whole, part = divmod(seconds or 0.0, 1)
        limit = struct.pack("@ll", int(whole), int(part * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
