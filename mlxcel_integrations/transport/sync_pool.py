"""Connection pool for the threads of one process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from ..forks import between_forks, import_each
from ..protocol.timeouts import Deadline
from .endpoint import MAX_CONNECTIONS, Endpoint
from .network import keeping_deadlines, sending
from .peers import proving_peers
from .steps import Incoming

if TYPE_CHECKING:
    from .server import ServerLease

__all__ = ["SyncPool"]

_WITH_FIRST_CONNECTION = ("concurrent.futures", "httpcore", "encodings.idna")
"""Modules that the first connection needs: httpx, Python and ``look_up`` import them late."""


class SyncPool:
    """The connections of the threads of one process to one server.

    Args:
        transport: Used instead of one that is made for the address.
        lease: The managed server to which all connections must lead; None in connect mode.
    """

    def __init__(
        self, transport: httpx.BaseTransport | None = None, lease: ServerLease | None = None
    ) -> None:
        self._custom_transport = keeping_deadlines(transport) if transport is not None else None
        self._lease = lease
        self._known: tuple[Endpoint, httpx.BaseTransport] | None
        self._inherited: object = None
        self._forget()

    def transport(self, endpoint: Endpoint) -> httpx.BaseTransport:
        """Return the transport to an address, a new one if the server has moved."""
        if self._custom_transport is not None:
            return self._custom_transport
        if self._process != os.getpid():
            # The parent still uses these connections: a forked child must not touch them, not even
            # to close them, and the lock may have been held at the moment of the fork.
            self._inherited = self._known
            self._forget()
        known = self._known
        if known is not None and known[0] == endpoint:
            return known[1]
        with self._lock:
            if self._known is None or self._known[0] != endpoint:
                self._drop()
                try:
                    import_each(_WITH_FIRST_CONNECTION)
                except OSError as error:
                    # This process may not open more files.
                    raise httpx.ConnectError(str(error)) from error
                with between_forks:
                    transport = keeping_deadlines(endpoint.transport())
                self._known = endpoint, proving_peers(transport, self._lease)
            return self._known[1]

    def send(self, endpoint: Endpoint, request: httpx.Request, deadline: Deadline) -> Incoming:
        """Send a request as soon as one of the connections is free.

        The deadline ends the reads of its response, too.

        Requests wait here and not in httpcore, whose own queue takes quadratic time: 1,000 requests
        at once would take minutes.

        Raises:
            httpx.RequestError: There is no response.
        """
        transport, places = self.transport(endpoint), self._free_connections
        wait = min(request.extensions["timeout"]["pool"], threading.TIMEOUT_MAX)
        if not places.acquire(timeout=wait):
            raise httpx.PoolTimeout("No connection is free.")
        try:
            sending.deadline = deadline
            response = transport.handle_request(request)
            body = response.stream
            assert isinstance(body, httpx.SyncByteStream)
        except BaseException:
            places.release()
            raise
        finally:
            sending.deadline = None
        closing = _Closing(self, places, transport, response.extensions.get("network_stream"), body)
        return Incoming(response, closing, iter(body), deadline)

    def has(self, transport: httpx.BaseTransport) -> bool:
        """Return whether a transport is in use: neither closed nor lost by a fork."""
        known = self._known
        return transport is self._custom_transport or (known is not None and transport is known[1])

    def close(self) -> None:
        """Close all connections."""
        if self._process == os.getpid():
            with self._lock:
                self._drop()

    def _drop(self) -> None:
        # In this order, so that a connection made meanwhile is closed here or in ``send``.
        known, self._known = self._known, None
        if known is not None:
            known[1].close()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._known = None
        self._free_connections = threading.Semaphore(MAX_CONNECTIONS)


@dataclass(eq=False)
class _Closing:
    """Closes the body of a response, and lets another request use its connection."""

    pool: SyncPool
    places: threading.Semaphore
    transport: httpx.BaseTransport
    connection: Any
    body: httpx.SyncByteStream | None

    def close(self) -> None:
        """Close it, unless it is closed."""
        body, self.body = self.body, None
        if body is None:
            return
        try:
            body.close()
        finally:
            # httpcore forgets a connection that is still being made when its pool is closed.
            if self.connection is not None and not self.pool.has(self.transport):
                self.connection.close()
            self.places.release()
