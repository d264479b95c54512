"""Where a new server listens: a private socket, or an address that the user chose."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..endpoint import Endpoint
from ..errors import MlxcelError
from ..options import ServerOptions
from .guard import clear, is_stale

__all__ = ["Place", "choose"]

MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""What fits into ``sockaddr_un.sun_path``, its final zero aside."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new server listens.

    Attributes:
        endpoint: Its address.
        directory: A directory to be made for it and removed with it; None if there is none. The
            guard makes it, so that whatever ends this program, somebody is there to remove it.
    """

    endpoint: Endpoint
    directory: Path | None = None

    def clear(self) -> None:
        """Remove what was made for the server; servers leave their socket behind."""
        if self.endpoint.socket is not None:
            clear(self.endpoint.socket, self.directory)


def choose(options: ServerOptions, path: str | None) -> Place:
    """Choose where a new server listens.

    Args:
        options: ``host`` or ``port`` ask for TCP.
        path: A socket path that the user chose.

    Raises:
        MlxcelError: The address is taken, or cannot be one.
    """
    if options.host is not None or options.port is not None:
        if path is not None:
            raise MlxcelError("Both socket= and host= or port= are given: drop one of them.")
        return Place(_tcp(options.host or "127.0.0.1", options.port))
    if path is not None:
        _check_socket(path)
        return Place(Endpoint.parse(None, path))
    directory = _private_directory(os.environ)
    return Place(Endpoint.parse(None, directory / "server.sock"), directory)


def _tcp(host: str, port: int | None) -> Endpoint:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    if port is None:
        port = _free_port(reached)
    elif _answers(reached, port):
        raise MlxcelError(
            f"Another program listens on port {port} of {reached}: pass another port=, or use "
            f"base_url='http://{reached}:{port}' if that is the server you want."
        )
    return Endpoint(f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}")


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise MlxcelError(
                f"host={host!r} is no address of this machine: {error.strerror}. Use 127.0.0.1, "
                "or socket= for the path of a socket."
            ) from None
        port: int = probe.getsockname()[1]
        return port


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def _check_socket(path: str) -> None:
    """Refuse a path that a server could not bind, or that is somebody else's.

    The real server removes whatever it finds there, a running server's socket included.
    """
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise MlxcelError(
            f"socket={path!r} has {size} bytes, and a socket path {MAX_SOCKET_PATH_BYTES} at most "
            "on this system: use a shorter one."
        )
    if not path.endswith(".sock"):
        raise MlxcelError(f"socket={path!r} must end in .sock: servers tell sockets by this.")
    if not os.access(Path(path).parent, os.W_OK | os.X_OK):
        raise MlxcelError(f"The directory of socket={path!r} does not exist or is not writable.")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise MlxcelError(f"socket={path!r} is a file already, and no socket: it is left alone.")
    if not is_stale(path):
        raise MlxcelError(
            f"A server listens on socket={path!r} already: drop model= to use it, or choose "
            "another path."
        )
    Path(path).unlink()


def _private_directory(environ: Mapping[str, str]) -> Path:
    """Return the path of a new directory, short enough for a socket in it."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    candidates = [runtime] if runtime and os.access(runtime, os.W_OK | os.X_OK) else []
    candidates += [tempfile.gettempdir(), "/tmp"]
    rest = len("/mlxcel-12345678/server.sock")
    for parent in candidates:
        if len(os.fsencode(parent)) + rest <= MAX_SOCKET_PATH_BYTES:
            # Six bytes of chance are the eight characters.
            return Path(parent, f"mlxcel-{secrets.token_urlsafe(6)}").absolute()
    raise MlxcelError("No temporary directory has a short enough path: set TMPDIR to another one.")
