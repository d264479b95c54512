"""Where the engine listens, checked before the model is loaded.

llama.cpp itself would only say that it could not bind, whatever the reason.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from ..errors import MlxcelError

__all__ = ["check", "identity", "is_socket", "remove", "remove_stale"]

# The room that the system has for the path of a socket, in bytes.
LONGEST_PATH = 103 if sys.platform == "darwin" else 107


def is_socket(host: str) -> bool:
    """Tell whether llama.cpp takes a host for the path of a socket."""
    return host.endswith(".sock")


def check(host: str, port: int) -> None:
    """Make sure that a server can listen at an address.

    Raises:
        MlxcelError: It cannot; says why, and what to do.
    """
    if is_socket(host):
        _check_socket(Path(host))
    elif "/" in host:
        raise MlxcelError(f"The path of a socket must end in .sock, and {host} does not.")
    else:
        _check_port(host, port)


def identity(host: str) -> tuple[int, int] | None:
    """Return what tells the file of a socket from a later one of the same name."""
    try:
        status = Path(host).lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def remove(host: str, expected: tuple[int, int] | None) -> None:
    """Remove the file of our own socket, and nobody else's."""
    if is_socket(host) and expected is not None and identity(host) == expected:
        Path(host).unlink(missing_ok=True)


def remove_stale(host: str) -> None:
    """Remove the file of a socket on which no server answers."""
    if is_socket(host) and not _is_answered(Path(host)):
        Path(host).unlink(missing_ok=True)


def _check_socket(path: Path) -> None:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise MlxcelError(
            f"The path of the socket is too long: {path}. Choose one of at most "
            f"{LONGEST_PATH} bytes."
        )
    if path.is_socket() and _is_answered(path):
        raise MlxcelError(
            f"A server is already listening on {path}. Connect to it, or choose another path."
        )
    if path.is_socket():
        raise MlxcelError(
            f"{path} was left behind by a server that is gone. Delete it, or choose another path."
        )
    if path.exists():
        raise MlxcelError(f"{path} is there already, and is no socket. Choose another path.")
    if not path.parent.is_dir():
        raise MlxcelError(
            f"There is no directory {path.parent} for the socket. Make it, or choose another path."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise MlxcelError(
            f"Not allowed to make a socket in {path.parent}. Choose a directory of your own."
        )


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        return client.connect_ex(str(path)) == 0


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
