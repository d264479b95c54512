"""One server for all who ask for the same thing."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from typing import Any

from ..errors import MlxcelError
from ..options import server_options
from .process import ManagedServer

__all__ = ["Lease", "lease"]

# Leases are given back by the garbage collector too, which may run while the lock is held.
_lock = threading.RLock()
_servers: dict[str, _Shared] = {}


class Lease:
    """The right to use a server, given back by ``release`` or with this object."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._give_back = weakref.finalize(self, shared.give_back)

    @property
    def alive(self) -> bool:
        """Whether it has not been given back."""
        return self._give_back.alive

    @property
    def server(self) -> ManagedServer:
        """The server.

        Raises:
            MlxcelError: The lease was given back.
        """
        if not self.alive:
            raise MlxcelError(
                f"The model {self._shared.server.model!r} was closed: make a new object to use it "
                "again."
            )
        return self._shared.server

    def release(self) -> None:
        """Give the server back; the last lease stops it."""
        self._give_back()


class _Shared:
    """A server and the number of its leases."""

    def __init__(self, key: str, server: ManagedServer) -> None:
        self.key = key
        self.server = server
        self.leases = 0

    def give_back(self) -> None:
        with _lock:
            self.leases -= 1
            if self.leases > 0:
                return
            _servers.pop(self.key, None)
        self.server.close()


def lease(
    model: str,
    *,
    socket: str | os.PathLike[str] | None,
    api_key: str | None,
    **options: Any,
) -> Lease:
    """Return a lease of the server for a model, which all who ask for the same share.

    Args:
        model: As for ``ManagedServer``.
        socket: As for ``ManagedServer``.
        api_key: As for ``ManagedServer``.
        options: Fields of ``ServerOptions``.

    Raises:
        MlxcelError: An option is unknown, or has a value that it cannot have.
    """
    checked = server_options(options)
    secret = hashlib.sha256((api_key or "").encode()).hexdigest()
    key = repr((os.getpid(), model, socket and os.fspath(socket), secret, checked))
    with _lock:
        if key not in _servers:
            server = ManagedServer(model, socket=socket, api_key=api_key, **options)
            _servers[key] = _Shared(key, server)
        shared = _servers[key]
        shared.leases += 1
        return Lease(shared)
