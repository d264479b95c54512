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
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..forks import between_forks
from .tcp_peers import holds_other_end

if TYPE_CHECKING:
    from ..transport.endpoint import Endpoint

__all__ = ["ProcessTree", "is_ours", "is_peer", "macos_peer_pid", "peer_pid"]

_CONNECT_TIMEOUT = 1.0
"""Longest time to wait for a server that listens but does not accept, in seconds."""

_ACCEPT_PAUSES = (0.002, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Pauses for the server to accept a connection, in seconds."""

_MACOS_SOL_LOCAL, _MACOS_LOCAL_PEERPID = 0, 2


class ProcessTree(NamedTuple):
    """The processes of a server: its process group, and all descendants of leader and guard.

    Attributes:
        leader: Process id of the leader of the group.
        guard: Process id of the leader's parent, which on Linux adopts what detaches itself.
    """

    leader: int
    guard: int

    def includes(self, pid: int) -> bool:
        """Return whether a process is one of these."""
        return _group_of(pid) == self.leader or self._has_descendant(pid)

    def pids(self) -> Iterator[int]:
        """Yield the leader, the other processes of its group, then all descendants."""
        yield self.leader
        # Imported only here: it takes 20 ms that a Unix socket does not need.
        with between_forks:
            import psutil

        yield from (pid for pid in psutil.pids() if _group_of(pid) == self.leader)
        with contextlib.suppress(psutil.Error):
            yield from (child.pid for child in psutil.Process(self.guard).children(recursive=True))

    def _has_descendant(self, pid: int) -> bool:
        with between_forks:
            import psutil

        with contextlib.suppress(psutil.Error):
            parents = (parent.pid for parent in psutil.Process(pid).parents())
            return any(parent in (self.leader, self.guard) for parent in parents)
        return False


def is_ours(endpoint: Endpoint, tree: ProcessTree) -> bool:
    """Return whether the server at an address is one of ours.

    If the system does not say, as for a process of another user, the answer is no.

    Args:
        endpoint: The address of a local server.
        tree: The processes of our server.
    """
    with contextlib.suppress(OSError):
        if endpoint.socket is not None:
            return _is_ours_on_socket(endpoint.socket, tree)
        url = urlsplit(endpoint.url)
        return _is_ours_on_tcp(url.hostname or "", url.port or 80, tree)
    return False


def is_peer(connection: socket.socket, tree: ProcessTree) -> bool:
    """Return whether the peer of a connection is one of ours.

    Args:
        connection: A connected client's socket, over TCP to this machine or over a Unix socket.
        tree: The processes of our server.
    """
    with contextlib.suppress(OSError):
        if connection.family == socket.AF_UNIX:
            return tree.includes(peer_pid(connection))
        return holds_other_end(connection, tree.pids, accepted=False)
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


def _is_ours_on_socket(path: str, tree: ProcessTree) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_TIMEOUT)
        client.connect(path)
        return is_peer(client, tree)


def _is_ours_on_tcp(host: str, port: int, tree: ProcessTree) -> bool:
    """Return whether all servers that listen at the addresses of a host are ours.

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
            if not _has_accepted(client, tree):
                return False
            ours = True
    return ours


def _has_accepted(client: socket.socket, tree: ProcessTree) -> bool:
    """Return whether one of our processes has accepted a connection.

    The listener of the port would be no proof: among several, the system chooses one by address
    and by chance.
    """
    for pause in _ACCEPT_PAUSES:
        time.sleep(pause)
        if holds_other_end(client, tree.pids, accepted=True):
            return True
    return False


def _group_of(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        # 0 would mean this process.
        return os.getpgid(pid) if pid > 0 else None
    return None
