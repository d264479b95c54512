"""One server for all who ask for the same thing."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from typing import Any

from ..errors import MlxcelError
from ..options import PATIENCE, server_options
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
            if _servers.get(self.key) is self:
                del _servers[self.key]
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
    key = repr((model, socket and os.fspath(socket), secret, checked.model_dump(exclude=PATIENCE)))
    with _lock:
        shared = _servers.get(key) if checked.share else None
        if shared is None:
            server = ManagedServer(model, socket=socket, api_key=api_key, **options)
            shared = _Shared(key, server)
            if checked.share:
                _servers[key] = shared
        shared.leases += 1
        return Lease(shared)


def _after_fork() -> None:
    """Make a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
