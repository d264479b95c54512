"""Peers of TCP connections on this machine: the process that holds the other end."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["holds_other_end"]

_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2
"""``NETLINK_SOCK_DIAG``, ``SOCK_DIAG_BY_FAMILY``, ``NLM_F_REQUEST`` and ``NLMSG_ERROR``."""

_HEADER = struct.Struct("=IHHII")
_REQUEST_HEAD = struct.Struct("=BBBBI")
_ENDS = struct.Struct("!HH16s16s")
_REQUEST_TAIL = struct.Struct("=IQ")
_REPLY = struct.Struct("=4B48xIIIII")
_ANY_STATE, _NO_COOKIE = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

_Address = tuple[str, int]


def holds_other_end(
    client: socket.socket, processes: Callable[[], Iterable[int]], *, accepted: bool
) -> bool:
    """Return whether one of several processes holds the server's end of a connection.

    A connection belongs to no process before it is accepted, and a busy server may leave it like
    that for long. Until then, it counts as held by the program that listens on the address; if
    several programs of this user do, another one may accept it.

    Args:
        client: Our end.
        processes: Returns the processes, the likeliest first.
        accepted: Whether to insist that the connection was accepted.
    """
    try:
        here, there = client.getsockname(), client.getpeername()
    except OSError:  # it was reset
        return False
    if sys.platform == "linux":
        # A sandbox may forbid this kind of socket.
        with contextlib.suppress(OSError):
            inode = _socket_inode(client.family, there, here)
            if inode == 0 and not accepted:
                inode = _socket_inode(client.family, there, None)
            return bool(inode) and any(
                _has_file_open(pid, f"socket:[{inode}]") for pid in processes()
            )
    wanted: set[tuple[_Address, _Address | None]] = {(_canonical(there), _canonical(here))}
    if not accepted:
        # Where a program listens, no other user can bind an address that it covers.
        wanted |= {((host, there[1]), None) for host in _listening_addresses(there)}
    return any(not wanted.isdisjoint(_sockets(pid)) for pid in processes())


# --------------------------------------------------------------------------- Linux


def _socket_inode(
    family: int, local: tuple[Any, ...], remote: tuple[Any, ...] | None
) -> int | None:
    """Ask the kernel for a socket of this machine; reading ``/proc/net/tcp`` takes 20 ms.

    Args:
        family: ``AF_INET`` or ``AF_INET6``.
        local: The address of this socket.
        remote: The address of the other end; None for the listener.

    Returns:
        Its inode, 0 if no process has it yet; None if there is no such socket.

    Raises:
        OSError: The kernel does not answer such questions.
    """
    ends = _ENDS.pack(local[1], remote[1] if remote else 0, _packed(local), _packed(remote))
    question = (
        _REQUEST_HEAD.pack(family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE)
        + ends
        + _REQUEST_TAIL.pack(_scope(local), _NO_COOKIE)
    )
    header = _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(header + question)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        number = -int.from_bytes(answer[_HEADER.size :][:4], sys.byteorder, signed=True)
        if number == errno.ENOENT:
            return None
        raise OSError(number, os.strerror(number))
    inode: int = _REPLY.unpack_from(answer, _HEADER.size)[-1]
    return inode


def _packed(address: tuple[Any, ...] | None) -> bytes:
    if address is None:
        return b""
    host = address[0].partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


def _scope(address: tuple[Any, ...]) -> int:
    """Return the interface of a link-local address of IPv6, 0 for all others."""
    return int(address[3]) if len(address) > 3 else 0


def _has_file_open(pid: int, name: str) -> bool:
    """Return whether a process has an open file with this name."""
    directory = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(directory):  # noqa: PTH208
            with contextlib.suppress(OSError):
                if os.readlink(f"{directory}/{descriptor}") == name:  # noqa: PTH115
                    return True
    return False


# --------------------------------------------------------------------------- other systems


def _sockets(pid: int) -> Iterable[tuple[_Address, _Address | None]]:
    """Yield the TCP sockets of a process, each as its own and the other address."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for one in psutil.Process(pid).net_connections("tcp"):
            if one.raddr or one.status == psutil.CONN_LISTEN:
                yield _canonical(one.laddr), _canonical(one.raddr) if one.raddr else None


def _listening_addresses(address: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the addresses on which a server may listen that is reached at another."""
    host = _canonical(address)[0]
    return (host, "::") if ":" in host else (host, "0.0.0.0", "::")


def _canonical(address: tuple[Any, ...]) -> _Address:
    """Return host and port in a form that is the same for both ends."""
    host, port = address[:2]
    # A server on :: sees IPv4 clients as ::ffff:127.0.0.1, or on macOS as ::127.0.0.1.
    return host.rpartition(":")[2] if "." in host else host, port
