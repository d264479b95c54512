"""Peers of connections: each new connection to a managed server must lead to that server.

An address alone proves nothing: the server may have died, another program may have its port, or its
socket may have been replaced. The system knows which process holds the other end, and is asked
before anything is sent.
"""

from __future__ import annotations

import importlib
import socket
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from .sockets import wrap_backend

if TYPE_CHECKING:
    from .server import ServerLease

__all__ = ["proving_peers"]

T = TypeVar("T")


def proving_peers(transport: T, lease: ServerLease | None) -> T:
    """Make a transport check the peer of each connection that it makes, and return it.

    Args:
        transport: A transport of ``httpx`` or ``httpx2`` that has not been used yet.
        lease: The managed server that it must reach; None to leave the transport unchanged.

    Raises:
        AttributeError: This version of ``httpx`` makes its connections in another way.
    """
    if lease is None:
        return transport
    kind = _AsyncBackend if hasattr(transport, "handle_async_request") else _Backend
    library = type(transport).__module__.partition(".")[0]
    error = importlib.import_module(library).ConnectError
    if not wrap_backend(transport, lambda backend: kind(backend, lease, error)):
        raise AttributeError(f"{library} {type(transport).__name__} has no network backend")
    return transport


class _Backend:
    """A network backend of ``httpcore`` that checks the peer of each connection.

    Args:
        backend: Makes the connections.
        lease: The server. It is not kept alive, since it ends with its last lease.
        error: Raised if another program answers.
    """

    def __init__(self, backend: Any, lease: ServerLease, error: type[Exception]) -> None:
        self._backend = backend
        self._lease = weakref.ref(lease)
        self._error = error

    def connect_unix_socket(self, *args: Any, **options: Any) -> Any:
        return self._checked(self._backend.connect_unix_socket(*args, **options))

    def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return self._checked(self._backend.connect_tcp(*args, **options))

    def _checked(self, stream: Any) -> Any:
        try:
            self._check(stream)
        except BaseException:
            stream.close()
            raise
        return stream

    def _check(self, stream: Any) -> None:
        """Raise unless the server holds the other end of a connection."""
        lease = self._lease()
        if lease is None or not lease.alive:
            raise self._error("this program closed the model")
        # The sockets of some event loops lack methods.
        connection = socket.socket(fileno=stream.get_extra_info("socket").fileno())
        try:
            proven = lease.server.is_peer(connection)
        finally:
            connection.detach()
        if not proven:
            raise self._error(
                "another program answers there, not the server that was started, and was sent "
                "neither the key nor a prompt"
            )


class _AsyncBackend(_Backend):
    """The same for event loops."""

    async def connect_unix_socket(self, *args: Any, **options: Any) -> Any:
        return await self._achecked(await self._backend.connect_unix_socket(*args, **options))

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return await self._achecked(await self._backend.connect_tcp(*args, **options))

    async def _achecked(self, stream: Any) -> Any:
        try:
            self._check(stream)
        except BaseException:
            await stream.aclose()
            raise
        return stream
