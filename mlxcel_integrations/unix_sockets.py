"""Unix sockets: checks of paths, and stale files."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

from .errors import MlxcelError

__all__ = [
    "MAX_SOCKET_PATH_BYTES",
    "check_socket_length",
    "check_socket_path",
    "is_socket_path",
    "is_stale",
    "is_utf8",
]

MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""Size of ``sockaddr_un.sun_path``, without its final zero."""


def is_utf8(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is UTF-8, the only encoding that servers read."""
    try:
        os.fsencode(path).decode()
    except UnicodeError:
        return False
    return True


def is_socket_path(host: str) -> bool:
    """Return whether servers read a host as the path of a socket."""
    return host.endswith(".sock")


def check_socket_path(path: str, option: str) -> None:
    """Check that a server can make its socket at a path; an old socket may be there.

    Args:
        path: The path.
        option: The option that names it, as shown to the user.

    Raises:
        MlxcelError: It cannot.
    """
    check_socket_length(path, option)
    named = f"{option}{path!r}"
    if not is_socket_path(path):
        raise MlxcelError(f"{named} must end in .sock, which is how servers recognise a socket.")
    if not os.access(Path(path).parent, os.W_OK | os.X_OK):
        raise MlxcelError(
            f"The directory of {named} does not exist or is not writable. Choose another path."
        )
    if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise MlxcelError(f"{named} exists and is not a socket. Choose another path.")


def check_socket_length(path: str, option: str) -> None:
    """Check that the path of a socket fits into an address of the system.

    Args:
        path: The path.
        option: The option that names it, as shown to the user.

    Raises:
        MlxcelError: It does not.
    """
    named = f"{option}{path!r}"
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise MlxcelError(
            f"{named} has characters that this system's locale cannot encode: use ASCII letters, "
            "or run with PYTHONUTF8=1."
        ) from None
    if not is_utf8(path):
        raise MlxcelError(
            f"{named} is not UTF-8, the only encoding that servers read: choose another path."
        )
    if size > MAX_SOCKET_PATH_BYTES:
        raise MlxcelError(
            f"{named} is too long for a socket: it has {size} bytes, and this system allows "
            f"{MAX_SOCKET_PATH_BYTES}. Use a shorter path."
        )


def is_stale(path: str) -> bool:
    """Return whether a socket file exists on which no process listens any more."""
    with socket.socket(socket.AF_UNIX) as probe:
        # A server that accepts no connections at the moment would block this forever.
        probe.settimeout(1.0)
        return probe.connect_ex(path) == errno.ECONNREFUSED
