"""The connection pools of event loops, one for each.

Apart from ``pools``, since importing ``asyncio`` takes longer than all of the synchronous client.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator

import httpx

from .endpoint import Endpoint

__all__ = ["AsyncPools", "ClosedForSure"]

_WITH_FIRST_REQUEST = ("httpcore", "anyio._backends._asyncio")
"""What httpx imports with its first request, which would block the event loop for 50 ms."""


class AsyncPools:
    """The connections of each event loop to one server, closed with the loop.

    Args:
        transport: Used instead of ones that are made for the address.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._given = transport
        self._inherited: object = None
        self._forget()

    async def transport(self, endpoint: Endpoint) -> httpx.AsyncBaseTransport:
        """Return the transport to an address in the running loop, new if the server has moved."""
        if self._given is not None:
            return self._given
        if self._process != os.getpid():
            self._inherited = self._known
            self._forget()
        if not sys.modules.keys() >= {*_WITH_FIRST_REQUEST}:
            await asyncio.to_thread(_import_each, _WITH_FIRST_REQUEST)
        # From here to where it is set nothing is awaited, or the first tasks of a loop would each
        # make one, and all but one would be lost.
        loop = asyncio.get_running_loop()
        known = self._known.get(loop)
        if known is not None and known.endpoint == endpoint:
            return known.transport
        fresh = _LoopTransport(endpoint)
        with self._lock:
            for dead in [other for other in self._known if other.is_closed()]:
                del self._known[dead]
            self._known[loop] = fresh
        await anext(fresh.guard)
        if known is not None:
            await known.guard.aclose()
        return fresh.transport

    async def close(self) -> None:
        """Close the connections of the running loop; other loops close theirs when they end."""
        with self._lock:
            known = self._known.pop(asyncio.get_running_loop(), None)
        if known is not None:
            await known.guard.aclose()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._known: dict[asyncio.AbstractEventLoop, _LoopTransport] = {}


class ClosedForSure(httpx.AsyncByteStream):
    """The body of a response, whose closing goes on when the task that waits for it is cancelled.

    httpx closes a body where it ends, inside of the read. A cancellation at that moment would
    leave the connection in use for ever, and the pool with one less.

    Args:
        body: As the transport gives it.
    """

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()

    async def aclose(self) -> None:
        """Close it, and wait for this unless the task is cancelled."""
        await asyncio.shield(self._body.aclose())


class _LoopTransport:
    """A transport to an address, and the guard that closes it with its event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.transport = endpoint.async_transport()
        self.guard = _closed_with_loop(self.transport)


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


def _import_each(names: tuple[str, ...]) -> None:
    for name in names:
        importlib.import_module(name)
