"""Leases: one server in this process for all who ask for the same one."""

from __future__ import annotations

import hashlib
import os
import weakref
from typing import Any

from ..errors import MlxcelError
from ..forks import fork_safe_lock
from ..options.fields import LIFECYCLE_FIELDS
from ..secret import Secret
from .managed_server import ManagedServer
from .server_spec import ServerSpec

__all__ = ["Lease", "lease"]


class Lease:
    """The right to use a server, which ends with ``release`` or with this object.

    Leases are not counted but referenced weakly, so that an interrupt at any moment leaves no
    server behind: the server stops when its last lease is gone.
    """

    def __init__(self, shared: _SharedServer) -> None:
        self._model = shared.server.model
        self._shared: _SharedServer | None = shared
        shared.leases.add(self)

    @property
    def alive(self) -> bool:
        """Whether it has not been released."""
        return self._shared is not None

    @property
    def server(self) -> ManagedServer:
        """The server.

        Raises:
            MlxcelError: The lease has been released.
        """
        if self._shared is None:
            raise MlxcelError(
                f"The model {self._model!r} was closed: make a new object to use it again."
            )
        return self._shared.server

    def release(self) -> None:
        """Give up the lease; the last one stops the server."""
        with _servers_lock:
            shared, self._shared = self._shared, None
            if shared is None:
                return
            shared.leases.discard(self)
            if shared.leases:
                return
            if _servers.get(shared.key) is shared:
                del _servers[shared.key]
        shared.server.close()


class _SharedServer:
    """A server and its leases."""

    def __init__(self, key: str, server: ManagedServer) -> None:
        self.key = key
        self.server = server
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()


_servers_lock = fork_safe_lock()
_servers: weakref.WeakValueDictionary[str, _SharedServer] = weakref.WeakValueDictionary()


def lease(
    model: str,
    *,
    socket: str | os.PathLike[str] | None,
    api_key: Secret | None,
    **options: Any,
) -> Lease:
    """Return a lease of the server for a model; equal arguments share one server.

    Args:
        model: As for ``ManagedServer``.
        socket: As for ``ManagedServer``.
        api_key: As for ``ManagedServer``.
        options: Fields of ``ServerOptions``.

    Raises:
        MlxcelError: An option is unknown, or has a value that it cannot have.
    """
    spec = ServerSpec.of(model, socket, api_key, options)
    secret = hashlib.sha256(api_key.reveal().encode() if api_key else b"").hexdigest()
    settings = spec.options.model_dump(exclude=LIFECYCLE_FIELDS)
    key = repr((spec.model, spec.socket, secret, settings))
    with _servers_lock:
        shared = _servers.get(key) if spec.options.share else None
        if shared is None:
            shared = _SharedServer(key, ManagedServer._from_spec(spec))
            if spec.options.share:
                _servers[key] = shared
        return Lease(shared)
