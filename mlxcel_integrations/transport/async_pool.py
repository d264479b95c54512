"""Connection pools for event loops, one for each.

Not in ``sync_pool``, since importing ``asyncio`` takes longer than the whole synchronous client.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import httpx

from ..forks import between_forks, import_each
from ..protocol.timeouts import Deadline
from .async_network import AsyncStream, over_asyncio
from .endpoint import MAX_CONNECTIONS, Endpoint
from .peers import proving_peers
from .steps import Incoming

if TYPE_CHECKING:
    from .server import ServerLease

__all__ = ["AsyncPool", "off_loop"]

T = TypeVar("T")

_WITH_FIRST_REQUEST = ("httpcore", "anyio._backends._asyncio", "encodings.idna")
"""Modules that httpx and Python import for a first request: the loop would wait for 50 ms."""

_PRIVATE = ("_requests", "_connections")
"""Private attributes of httpcore's pool that are read here."""


class AsyncPool:
    """The connections of each event loop to one server, closed with the loop.

    Args:
        transport: Used instead of transports that are made for the address.
        lease: The managed server to which all connections must lead; None in connect mode.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport | None = None, lease: ServerLease | None = None
    ) -> None:
        self._custom_transport = transport
        self._lease = lease
        self._inherited: object = None
        self._forget()

    async def transport(self, endpoint: Endpoint) -> httpx.AsyncBaseTransport:
        """Return the transport to an address in the running loop, new if the server has moved."""
        if self._custom_transport is not None:
            return self._custom_transport
        if self._process != os.getpid():
            self._inherited = self._known
            self._forget()
        if not sys.modules.keys() >= {*_WITH_FIRST_REQUEST}:
            try:
                await off_loop(import_each, _WITH_FIRST_REQUEST)
            except OSError as error:
                # The limit of open files of this process may be reached.
                raise httpx.ConnectError(str(error)) from error
        # Nothing is awaited between here and where it is set, or each of the first tasks of a loop
        # would make a transport, and all but one would be lost.
        loop = asyncio.get_running_loop()
        known = self._known.get(loop)
        if known is not None and known.endpoint == endpoint:
            return known.transport
        with between_forks:
            fresh = _LoopTransport(endpoint, self._lease)
        with self._lock:
            for dead in [other for other in self._known if other.is_closed()]:
                del self._known[dead]
            self._known[loop] = fresh
        await anext(fresh.guard)
        if known is not None:
            await known.close()
        return fresh.transport

    async def send(
        self, endpoint: Endpoint, request: httpx.Request, deadline: Deadline
    ) -> Incoming:
        """Send a request; see ``SyncPool.send``. Its task may be cancelled anywhere."""
        transport = await self.transport(endpoint)
        loop = asyncio.get_running_loop()
        places = self._free_connections.setdefault(loop, asyncio.Semaphore(MAX_CONNECTIONS))
        try:
            async with asyncio.timeout(request.extensions["timeout"]["pool"]):
                await places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("No connection is free.") from None
        try:
            response = await transport.handle_async_request(request)
            body = response.stream
            assert isinstance(body, httpx.AsyncByteStream)
        except (Exception, asyncio.CancelledError):
            try:
                if abandoned := _abandoned_connections(transport):
                    await asyncio.shield(_close_abandoned(transport, abandoned))
            finally:
                places.release()
            raise
        closing = _AsyncClosing(
            self, places, transport, response.extensions.get("network_stream"), body
        )
        return Incoming(response, closing, aiter(body), deadline)

    def has(self, transport: httpx.AsyncBaseTransport) -> bool:
        """Return whether a transport is in use in the running loop; see ``SyncPool.has``."""
        known = self._known.get(asyncio.get_running_loop())
        return transport is self._custom_transport or (
            known is not None and known.transport is transport
        )

    async def close(self) -> None:
        """Close the connections of the running loop; other loops close theirs when they end."""
        with self._lock:
            known = self._known.pop(asyncio.get_running_loop(), None)
        if known is not None:
            await known.close()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._known: dict[asyncio.AbstractEventLoop, _LoopTransport] = {}
        self._free_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            WeakKeyDictionary()
        )


@dataclass(eq=False)
class _AsyncClosing:
    """Closes the body of a response, and lets another request use its connection."""

    pool: AsyncPool
    places: asyncio.Semaphore
    transport: httpx.AsyncBaseTransport
    connection: Any
    body: httpx.AsyncByteStream | None

    async def aclose(self) -> None:
        """Close it, unless it is closed; a task that may be cancelled must shield this."""
        body, self.body = self.body, None
        if body is None:
            return
        try:
            await body.aclose()
        finally:
            try:
                # httpcore forgets a connection that is still being made when its pool is closed.
                if self.connection is not None and not self.pool.has(self.transport):
                    await self.connection.aclose()
            finally:
                self.places.release()


class _LoopTransport:
    """A transport to an address, and the guard that closes it with its event loop."""

    def __init__(self, endpoint: Endpoint, lease: ServerLease | None) -> None:
        self.endpoint = endpoint
        made: WeakSet[AsyncStream] = WeakSet()
        self.transport = proving_peers(over_asyncio(endpoint.async_transport(), made), lease)
        self.guard = _closed_with_loop(self.transport, made)

    async def close(self) -> None:
        """Close the transport, perhaps while the ending loop closes it, too."""
        await self.transport.aclose()
        # The guard has nothing left to wait for, so the loop cannot come in between.
        if not self.guard.ag_running:  # type: ignore[attr-defined]  # not in the ABC
            await self.guard.aclose()


async def _closed_with_loop(
    transport: httpx.AsyncBaseTransport, made: WeakSet[AsyncStream]
) -> AsyncGenerator[None, None]:
    """Close a transport and its connections when the loop ends, or when nothing refers to it.

    Args:
        transport: The transport.
        made: Its connections.

    A loop closes the asynchronous generators that run in it before it ends
    (``loop.shutdown_asyncgens``), and those that are garbage-collected. No other hook for this is
    offered by every event loop.
    """
    try:
        yield
    finally:
        # All at once: a loop that ends may leave no time to close one after the other.
        for stream in list(made):
            stream.abort()
        await transport.aclose()


def _abandoned_connections(transport: httpx.AsyncBaseTransport) -> list[Any]:
    """Return the connections of a pool that no request uses or will ever use.

    httpcore 1.0 leaves a connection there forever if its task is cancelled before it has sent its
    request: after 200 of them, every request hangs. It has no public way to find out which
    connections requests use. Other transports have no such pool.
    """
    pool: Any = getattr(transport, "_pool", None)
    if not all(hasattr(pool, name) for name in _PRIVATE):
        return []
    in_use = {request.connection for request in pool._requests}
    return [
        connection
        for connection in pool._connections
        if not (connection in in_use or connection.is_idle() or connection.is_closed())
    ]


async def _close_abandoned(transport: Any, abandoned: list[Any]) -> None:
    """Close connections, and take them out of their pool.

    In this order, since a loop that ends cancels tasks before they begin: the guard then closes
    what the pool still has.
    """
    connections = transport._pool._connections
    for connection in abandoned:
        await connection.aclose()
        # Another request may have found it, too.
        if connection in connections:
            connections.remove(connection)


async def off_loop(work: Callable[..., T], *args: Any) -> T:
    """Do something slow in a thread of its own, or right here if Python is ending.

    Not in one of the loop's own threads, all of which may be waiting for what this does.
    """
    done: Future[T] = Future()
    # From now on, a task may stop waiting for it, but cannot cancel it.
    done.set_running_or_notify_cancel()
    thread = threading.Thread(target=_do, args=(done, work, args))
    try:
        if threading.main_thread().is_alive():
            thread.start()
        else:
            thread.run()
    except RuntimeError:
        # There are too many threads, or Python is ending.
        thread.run()
    return await asyncio.wrap_future(done)


def _do(done: Future[T], work: Callable[..., T], args: tuple[Any, ...]) -> None:
    try:
        done.set_result(work(*args))
    except BaseException as error:  # noqa: BLE001 - raised where its result is awaited
        done.set_exception(error)
