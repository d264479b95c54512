"""Where a new server listens: a private socket, or an address that the user chose."""

from __future__ import annotations

import os
import re
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import MlxcelError
from ..options import ServerOptions
from ..transport.endpoint import Endpoint
from .cleanup import sweep
from .guard import is_stale
from .runtime import MAX_SOCKET_PATH_BYTES, runtime_directory

__all__ = ["BindAddress", "choose", "port_was_taken"]

_PORT_TAKEN = re.compile(
    r"address (already )?in use|EADDRINUSE|AddrInUse|port \d+ is (already )?in use"
    # llama-server does not tell why; that the address is one of the machine is known by then.
    r"|couldn't bind HTTP server socket",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Where a new server listens.

    Attributes:
        endpoint: Its address.
        directory: A directory to be made for it and removed with it; None if there is none. The
            guard makes it, so that whatever ends this program, somebody is there to remove it.
    """

    endpoint: Endpoint
    directory: Path | None = None


def choose(options: ServerOptions, path: str | None) -> BindAddress:
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
        return BindAddress(_tcp(options.host or "127.0.0.1", options.port))
    if path is not None:
        _check_socket(path)
        return BindAddress(Endpoint.parse(None, path))
    directory = runtime_directory("mlxcel-run-12345678/server.sock") / _new_name()
    sweep(directory.parent)
    return BindAddress(Endpoint.parse(None, directory / "server.sock"), directory)


def _new_name() -> str:
    # Six bytes of chance are eight characters.
    return f"mlxcel-run-{secrets.token_urlsafe(6)}"


def port_was_taken(log: str) -> bool:
    """Tell whether a server ended because another program has its port.

    Args:
        log: What it printed.
    """
    return _PORT_TAKEN.search(log) is not None


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
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise MlxcelError(
            f"socket={path!r} has characters that this system's locale cannot encode: use plain "
            "letters, or run with PYTHONUTF8=1."
        ) from None
    if size > MAX_SOCKET_PATH_BYTES:
        raise MlxcelError(
            f"socket={path!r} has {size} bytes, and a socket path {MAX_SOCKET_PATH_BYTES} at most "
            "on this system: use a shorter one."
        )
    if not path.endswith(".sock"):
        raise MlxcelError(f"socket={path!r} must end in .sock: servers tell sockets by this.")
    if not os.access(Path(path).parent, os.W_OK | os.X_OK):
        raise MlxcelError(f"The directory of socket={path!r} does not exist or is not writable.")
    mode = Path(path).parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise MlxcelError(
            f"Every user of this machine can replace socket={path!r}: choose another directory, or "
            f"chmod o-w {Path(path).parent}."
        )
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
    try:
        Path(path).unlink()
    except OSError as error:
        raise MlxcelError(
            f"socket={path!r} is left from a server that is gone, and cannot be removed: "
            f"{error.strerror}. Choose another path."
        ) from None
