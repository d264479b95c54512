"""Peer identity: is the server that answers the one that was started?

A port or a path does not say who listens there. The system does: it knows which process holds the
other end of a connection. The key is sent only after this check.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..forks import between_forks
from .tcp_peers import holds_other_end

if TYPE_CHECKING:
    from ..transport.endpoint import Endpoint

__all__ = ["is_ours", "is_peer", "macos_peer_pid", "peer_pid"]

_CONNECT_TIMEOUT = 1.0
"""Longest time to wait for a server that listens but does not accept, in seconds."""

_ACCEPT_PAUSES = (0.002, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Pauses for the server to accept a connection, in seconds."""

_MACOS_SOL_LOCAL, _MACOS_LOCAL_PEERPID = 0, 2


def is_ours(endpoint: Endpoint, group: int, guard: int | None = None) -> bool:
    """Return whether the server at an address belongs to a process group of ours.

    A process outside the group counts if the leader of the group is among its ancestors, or the
    guard. If the system does not say, as for a process of another user, the answer is no.

    Args:
        endpoint: The address of a local server.
        group: Process id of the leader of the group.
        guard: Process id of its guard, None if it has none. On Linux it adopts what detaches
            itself from the leader.
    """
    with contextlib.suppress(OSError):
        if endpoint.socket is not None:
            return _is_ours_on_socket(endpoint.socket, group, guard)
        url = urlsplit(endpoint.url)
        return _is_ours_on_tcp(url.hostname or "", url.port or 80, group, guard)
    return False


def is_peer(connection: socket.socket, group: int, guard: int | None = None) -> bool:
    """Return whether the peer of a connection belongs to a process group of ours.

    Args:
        connection: A connected client's socket, over TCP to this machine or over a Unix socket.
        group: As for ``is_ours``.
        guard: As for ``is_ours``.
    """
    with contextlib.suppress(OSError):
        if connection.family == socket.AF_UNIX:
            pid = peer_pid(connection)
            return _group_of(pid) == group or _descends_from(pid, {group, guard})
        return holds_other_end(connection, lambda: _members(group, guard), accepted=False)
    return False


def peer_pid(connection: socket.socket) -> int:
    """Return the process id of the server at the other end of a Unix socket.

    On Linux this is the process that began to listen; 0 if it is in a container.

    Args:
        connection: A connected client's socket.

    Raises:
        OSError: The system does not say.
    """
    if sys.platform == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("3i", credentials)[0])
    return macos_peer_pid(connection)


def macos_peer_pid(connection: Any) -> int:
    """Return what ``peer_pid`` does, on macOS.

    Args:
        connection: A socket with the options of macOS.
    """
    pid: int = connection.getsockopt(_MACOS_SOL_LOCAL, _MACOS_LOCAL_PEERPID)
    return pid


def _is_ours_on_socket(path: str, group: int, guard: int | None) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_TIMEOUT)
        client.connect(path)
        return is_peer(client, group, guard)


def _is_ours_on_tcp(host: str, port: int, group: int, guard: int | None) -> bool:
    """Return whether all servers that listen at the addresses of a host belong to a group.

    A name may have several addresses, and an asynchronous client may connect to another one than a
    blocking client.
    """
    ours = False
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        with socket.socket(family, kind, protocol) as client:
            client.settimeout(_CONNECT_TIMEOUT)
            if client.connect_ex(address) != 0:
                continue
            if not _has_accepted(client, group, guard):
                return False
            ours = True
    return ours


def _has_accepted(client: socket.socket, group: int, guard: int | None) -> bool:
    """Return whether a process of a group has accepted a connection.

    The listener of the port would be no proof: among several, the system chooses one by address
    and by chance.
    """
    for pause in _ACCEPT_PAUSES:
        time.sleep(pause)
        if holds_other_end(client, lambda: _members(group, guard), accepted=True):
            return True
    return False


def _members(group: int, guard: int | None) -> Iterator[int]:
    """Yield the leader of a group, its other processes, then all descendants of it or its guard."""
    yield group
    # Imported only here: it takes 20 ms that a Unix socket does not need.
    with between_forks:
        import psutil

    yield from (pid for pid in psutil.pids() if _group_of(pid) == group)
    # The leader is a child of its guard.
    with contextlib.suppress(psutil.Error):
        yield from (child.pid for child in psutil.Process(guard or group).children(recursive=True))


def _descends_from(pid: int, ancestors: set[int | None]) -> bool:
    with between_forks:
        import psutil

    with contextlib.suppress(psutil.Error):
        return any(parent.pid in ancestors for parent in psutil.Process(pid).parents())
    return False


def _group_of(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        # 0 would mean this process.
        return os.getpgid(pid) if pid > 0 else None
    return None
