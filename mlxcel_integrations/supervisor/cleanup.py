"""Cleanup after servers whose owner and guard were killed together."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import re
import selectors
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from . import guard

__all__ = ["reap", "remove_if_abandoned", "sweep", "wait_for_end"]

_PRIVATE_DIRECTORY = re.compile(r"mlxcel-run-[\w-]{8}", re.ASCII)
"""Names of directories that are made for one server."""

_FILE_TYPES = {"server.sock": stat.S_IFSOCK, "broker.sock": stat.S_IFSOCK, "lock": stat.S_IFREG}
"""Names and types of all files that are ever made in such a directory."""

_KILL_ROUNDS = 5
"""How often to look for processes that were started while others were being killed."""

_KILL_SECONDS = 1.0
"""Longest time to wait for killed processes to be gone."""

_REAP_PAUSE = 0.005

_StartedByDirectory = Callable[[], Mapping[bytes, list[int]]]


def sweep(parent: Path) -> None:
    """End the servers whose owner and guard were both killed, and remove their directories.

    A guard holds a shared lock on the directory of its server for as long as it lives, so a
    directory that can be locked has no guard. Whatever may not be ours is left alone.

    Args:
        parent: The directory that holds the directories of sockets.
    """
    shared, started = f"mlxcel-{os.geteuid()}", functools.cache(_started_by_guards)
    for name in _file_names(parent):
        if _PRIVATE_DIRECTORY.fullmatch(name):
            _remove_if_abandoned(parent / name, started)
    if _is_private(parent / shared):
        for name in _file_names(parent / shared):
            _remove_if_abandoned(parent / shared / name, started)
        _remove_if_abandoned(parent / shared, started)


def remove_if_abandoned(path: Path) -> None:
    """End a server and remove its directory if no guard looks after them any more."""
    _remove_if_abandoned(path, _started_by_guards)


def _file_names(directory: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(directory)  # noqa: PTH208
    return []


def _remove_if_abandoned(path: Path, started: _StartedByDirectory) -> None:
    if not _is_private(path):
        return
    # Without psutil, as in a broker on macOS, all is left to the next start.
    with contextlib.suppress(OSError, ImportError), contextlib.ExitStack() as locks:
        directory = locks.enter_context(_locked(path))
        names = os.listdir(directory)  # noqa: PTH208
        if not all(_is_server_directory(path / name) for name in names):
            return
        if "lock" in names:
            locks.enter_context(_locked(path / "lock"))
        if not _kill_started(path, started) or not _is_silent(path / "server.sock"):
            return
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        path.rmdir()


def _is_server_directory(path: Path) -> bool:
    return _FILE_TYPES.get(path.name) == stat.S_IFMT(path.lstat().st_mode)


def _is_private(path: Path) -> bool:
    """Return whether a path is a directory of this user that nobody else can enter."""
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
    # O_NONBLOCK: opening a pipe with this name would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_silent(path: Path) -> bool:
    """Return whether nobody listens on a socket, after killing a server without its guard's mark.

    A script may have started it with another environment.
    """
    if _is_listening(path):
        _kill(_unmarked_holders(path))
        return not _is_listening(path)
    return True


def _is_listening(path: Path) -> bool:
    """Return whether a process listens on a socket, even if it does not accept."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        return client.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)


def _unmarked_holders(path: Path) -> list[int]:
    """Return this user's processes that have a socket of a path, without those of other guards."""
    import psutil

    holders = []
    for pid in _pids():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.uids().effective == os.geteuid() and _guard_directory(pid) is None:
                sockets = process.net_connections("unix")
                holders += [pid] if str(path) in {one.laddr for one in sockets} else []
    return holders


def _started_by_guards() -> dict[bytes, list[int]]:
    """Return the processes that guards have started, by the directory of the guard."""
    started: dict[bytes, list[int]] = {}
    for pid in _pids():
        directory = _guard_directory(pid)
        if directory and pid != os.getpid():
            started.setdefault(directory, []).append(pid)
    return started


def _pids() -> list[int]:
    if sys.platform == "linux":
        return [int(name) for name in _file_names(Path("/proc")) if name.isdigit()]
    import psutil

    return psutil.pids()


def _guard_directory(pid: int) -> bytes | None:
    """Return the directory of the guard that has started a process, None if none has."""
    with contextlib.suppress(OSError):
        return _environment(pid).get(guard.DIRECTORY_VARIABLE.encode())
    return None


def _environment(pid: int) -> dict[bytes, bytes]:
    """Return the environment that a process was started with.

    Raises:
        OSError: It belongs to another user, or has ended.
    """
    if sys.platform == "linux":
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return {name: value for name, _, value in (pair.partition(b"=") for pair in pairs)}
    import psutil

    try:
        environment = psutil.Process(pid).environ()
    except psutil.Error as error:
        raise OSError(str(error)) from None
    return {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}


def wait_for_end(pid: int) -> None:
    """Wait until a killed process, which need not be a child of this one, has ended."""
    handle = guard.exit_handle(pid)
    if handle is not None:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            selector.select(_KILL_SECONDS)
        guard.close_handle(handle)


def reap(pid: int) -> None:
    """Collect the exit status of a process that ends, if it has become a child of this one.

    Process 1 and subreapers inherit the processes of guards and brokers that were killed.

    Args:
        pid: Its process id; a negative one stands for all of a process group, as for ``waitpid``.
    """
    deadline = time.monotonic() + _KILL_SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                time.sleep(_REAP_PAUSE)


def _kill_started(path: Path, started: _StartedByDirectory) -> bool:
    """Kill all that the guard of a directory has started; return False if some of it still runs."""
    for _ in range(_KILL_ROUNDS):
        left = started().get(os.fsencode(path))
        if not left:
            return True
        _kill(left)
        # They may have started others meanwhile.
        started = _started_by_guards
    return False


def _kill(pids: list[int]) -> None:
    """Kill processes, and wait for their end."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait_for_end(pid)
