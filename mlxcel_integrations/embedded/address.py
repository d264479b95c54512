"""Address of the engine, checked before the model is loaded.

llama.cpp itself would only say that it could not bind, whatever the reason.
"""

from __future__ import annotations

import socket
from pathlib import Path

from ..errors import MlxcelError
from ..unix_sockets import check_socket_path, is_socket_path, is_stale

__all__ = ["check_address", "remove_socket", "remove_stale_socket", "socket_identity"]


def check_address(host: str, port: int) -> None:
    """Make sure that a server can listen at an address.

    Raises:
        MlxcelError: It cannot; the message says why, and what to do.
    """
    if not is_socket_path(host) and "/" not in host:
        return _check_port(host, port)
    check_socket_path(host, "--host ")
    if is_stale(host):
        raise MlxcelError(
            f"{host} was left behind by a server that is gone. Delete it, or choose another path."
        )
    if Path(host).exists():
        raise MlxcelError(
            f"A server is already listening on {host}. Connect to it, or choose another path."
        )


def socket_identity(host: str) -> tuple[int, int] | None:
    """Return an identity that no later socket file of the same name has, None without a file."""
    try:
        status = Path(host).lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def remove_socket(host: str, identity: tuple[int, int] | None) -> None:
    """Remove our own socket file, and nobody else's."""
    if is_socket_path(host) and identity is not None and socket_identity(host) == identity:
        Path(host).unlink(missing_ok=True)


def remove_stale_socket(host: str) -> None:
    """Remove a socket file on which no server listens."""
    if is_socket_path(host) and is_stale(host):
        Path(host).unlink(missing_ok=True)


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # Connections of a server that has just ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Linux lets two sockets with SO_REUSEADDR bind the same port as long as none listens.
            probe.listen()
    except OSError as error:
        raise MlxcelError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --host or --port."
        ) from None
