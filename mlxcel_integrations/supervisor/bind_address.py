"""Bind address of a new server: a private socket, or an address that the user chose."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from ..errors import MlxcelError
from ..options.fields import ServerOptions
from ..transport.endpoint import Endpoint
from ..unix_sockets import check_socket_path, is_stale
from .cleanup import sweep
from .socket_directory import open_to_others, runtime_directory

__all__ = ["BindAddress", "choose_bind_address", "port_was_taken"]

_PORT_TAKEN = re.compile(
    r"address (already )?in use|EADDRINUSE|AddrInUse|port \d+ is (already )?in use"
    # llama-server does not say why; by then the address is known to be this machine's.
    r"|couldn't bind HTTP server socket",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Address for a new server to listen on.

    Attributes:
        endpoint: The address.
        directory: The server's own directory, which holds its private socket. The guard makes and
            locks it, so that the next start finds what a killed guard leaves behind. None if it
            cannot be made and is not needed.
    """

    endpoint: Endpoint
    directory: Path | None = None


def choose_bind_address(options: ServerOptions, path: str | None) -> BindAddress:
    """Choose the address of a new server.

    Args:
        options: ``host`` or ``port`` ask for TCP.
        path: A socket path that the user chose.

    Raises:
        MlxcelError: The address is taken, or no server could listen there.
    """
    is_tcp = options.host is not None or options.port is not None
    if is_tcp and path is not None:
        raise MlxcelError("Both socket= and host= or port= are given: drop one of them.")
    if not is_tcp and path is None:
        directory = _new_directory()
        return BindAddress(Endpoint.parse(None, directory / "server.sock"), directory)
    own = None
    with contextlib.suppress(MlxcelError):
        # Before the address is checked: this ends a server that outlived its guard and may hold it.
        own = _new_directory()
    if path is None:
        return BindAddress(_tcp(options.host or "127.0.0.1", options.port), own)
    _clear_path(path)
    return BindAddress(Endpoint.parse(None, path), own)


def _new_directory() -> Path:
    """Return the path of a directory to create, after removing what killed guards left beside it.

    Raises:
        MlxcelError: The path of every writable directory is too long.
    """
    directory = runtime_directory("mlxcel-run-12345678/server.sock") / _new_name()
    sweep(directory.parent)
    return directory


def _new_name() -> str:
    # Six random bytes are eight characters.
    return f"mlxcel-run-{secrets.token_urlsafe(6)}"


def port_was_taken(log: str) -> bool:
    """Return whether a server ended because another program has its port.

    Args:
        log: The output of the server.
    """
    return _PORT_TAKEN.search(log) is not None


def _tcp(host: str, port: int | None) -> Endpoint:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    # Without a port, too: a server on that port of another machine is not in our way.
    free = _free_port(reached)
    if port is None:
        port = free
    elif _is_port_open(reached, port):
        raise MlxcelError(
            f"Another program listens on port {port} of {reached}: choose another port, or use "
            f"base_url='http://{reached}:{port}' if that is the server you want."
        )
    url = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    return Endpoint(url, here=True)


def _free_port(host: str) -> int:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        raise MlxcelError(
            f"host={host!r} is not an address of this machine: {error.strerror}. Use 127.0.0.1, "
            "0.0.0.0 for all its addresses, or a socket."
        ) from None


def _is_port_open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def _clear_path(path: str) -> None:
    """Remove a stale socket, and refuse a path that something else has or could take.

    The server itself would remove whatever it finds there, even the socket of a running server.
    """
    check_socket_path(path, "socket=")
    if opening := open_to_others(Path(path).parent):
        raise MlxcelError(
            f"Other users of this machine can replace socket={path!r}, since they can rename files "
            f"in {opening}: choose another directory."
        )
    if not Path(path).exists():
        return
    if not is_stale(path):
        raise MlxcelError(
            f"A server is already listening on socket={path!r}: drop model= to use it, or choose "
            "another path."
        )
    try:
        Path(path).unlink()
    except OSError as error:
        raise MlxcelError(
            f"socket={path!r} was left behind by a server that is gone, and cannot be removed: "
            f"{error.strerror}. Choose another path."
        ) from None
