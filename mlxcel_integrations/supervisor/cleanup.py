"""Cleanup after servers whose owner and guard were killed together."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from .peer_identity import peer_pid

__all__ = ["ended_or_killed", "remove_if_left", "sweep"]

_PRIVATE_DIRECTORY = re.compile(r"mlxcel-run-[\w-]{8}", re.ASCII)
"""Names of directories that are made for one server."""

_FILE_TYPES = {"server.sock": stat.S_IFSOCK, "broker.sock": stat.S_IFSOCK, "lock": stat.S_IFREG}
"""Names and types of all files that are ever made in such a directory."""


def sweep(parent: Path) -> None:
    """Remove the directories of servers whose owner and guard were both killed.

    A guard holds a shared lock on the directory of its server for as long as it lives, so a
    directory that can be locked has no guard. Whatever may not be ours is left alone.

    Args:
        parent: The directory that holds those of sockets.
    """
    shared = f"mlxcel-{os.geteuid()}"
    for name in _file_names(parent):
        if _PRIVATE_DIRECTORY.fullmatch(name):
            remove_if_left(parent / name)
    if _is_private(parent / shared):
        for name in _file_names(parent / shared):
            remove_if_left(parent / shared / name)


def _file_names(directory: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(directory)  # noqa: PTH208
    return []


def remove_if_left(path: Path) -> None:
    """Remove the directory of a server if nobody looks after it any more."""
    if not _is_private(path):
        return
    with contextlib.suppress(OSError), contextlib.ExitStack() as locks:
        directory = locks.enter_context(_locked(path))
        names = os.listdir(directory)  # noqa: PTH208
        if not all(_is_ours(path / name) for name in names):
            return
        if "lock" in names:
            locks.enter_context(_locked(path / "lock"))
        if "server.sock" in names and not ended_or_killed(path / "server.sock"):
            return
        for name in names:
            os.unlink(name, dir_fd=directory)
        path.rmdir()


def _is_ours(path: Path) -> bool:
    return _FILE_TYPES.get(path.name) == stat.S_IFMT(path.lstat().st_mode)


def _is_private(path: Path) -> bool:
    """Tell whether a path is a directory of this user that nobody else can enter."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        mine = status.st_uid == os.geteuid() and not status.st_mode & 0o077
        return stat.S_ISDIR(status.st_mode) and mine
    return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a file and lock it.

    Raises:
        OSError: Somebody holds a lock on it.
    """
    # O_NONBLOCK: a pipe with this name would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def ended_or_killed(path: Path) -> bool:
    """Tell whether a socket is without a server, after ending one that has outlived its guard."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        result = client.connect_ex(str(path))
        return result == errno.ECONNREFUSED or (result == 0 and _killed(peer_pid(client), path))


def _killed(pid: int, path: Path) -> bool:
    """Kill the group of the server on a socket, if it is one that a guard has started."""
    # Hardly ever needed: Linux ends a server with its guard.
    import psutil

    with contextlib.suppress(psutil.Error):
        server = psutil.Process(pid)
        if (
            os.getpgid(pid) == pid != os.getpgrp()
            and server.uids().effective == os.geteuid()
            # The number may be that of another process by now.
            and any(end.laddr == str(path) for end in server.net_connections("unix"))
        ):
            os.killpg(pid, signal.SIGKILL)
            return True
    return False
