"""Guard: a small program that starts a server, and ends it when its owner is gone.

A program that is killed cannot stop its server, and no server watches the program that started it.
So the guard stands between them. It runs in its own session, on the standard library alone, and
loads nothing of the user's: ``python -I -S guard.py``.

Its stdin and stdout are one socket to its owner; both sides write lines to it. The first line that
the guard reads is ``start_order``; ``stop`` and ``kill`` may follow. It answers in JSON:
``{"pid": ...}`` and, in the end, ``{"returncode": ...}``; or ``{"no_directory": ...}`` or
``{"error": ...}`` when the socket's directory cannot be made or the command cannot be run. Its
stderr is the log of the server. It never needs the key: that is in the environment, which it
passes on.

When the guard itself is killed, Linux kills the group of the server. Elsewhere the owner does it,
or, if that is killed at the same moment, the next start (``cleanup.sweep``), which finds what a
guard has started by an environment variable.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

CHANNEL_IN, CHANNEL_OUT, LOG = 0, 1, 2

ORPHAN_GRACE = 0.05
"""Time from SIGTERM to SIGKILL once the owner is gone, in seconds.

Nobody waits for an answer any more, but a server may have a half-written file to remove.
"""

_PARENT_CHECK_SECONDS = 0.5
"""Pause between looks at the owner where the system does not report its end, in seconds."""

BEFORE_STOP_SHARE = 0.8
"""Share of the grace after which SIGTERM is sent even if the command before it still runs."""

STOP, KILL = b"stop\n", b"kill\n"

DIRECTORY_VARIABLE = "MLXCEL_GUARD_DIRECTORY"
"""Environment variable of all that a guard has started: the directory that the guard has locked."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_MAX_DESCRIPTORS = 10240
"""The most that macOS allows, whatever limit it reports."""


def start_order(
    command: list[str],
    socket: str | None,
    directory: os.PathLike[str] | None,
    grace: float,
    owner: int,
    before_stop: Sequence[str] = (),
) -> bytes:
    """Return the line that orders a guard to start a server.

    Args:
        command: Command line of the server.
        socket: Path of the socket that the server makes, to be removed after it.
        directory: Directory to create, and to lock while the server runs; a socket in it is
            removed with it.
        grace: Time from SIGTERM to SIGKILL when the guard is asked to stop, in seconds.
        owner: Process id of the parent of the guard.
        before_stop: Command line to run before SIGTERM, within the grace; empty for none.
    """
    # As bytes: which characters they stand for depends on settings that the guard does not share.
    commands = [
        [os.fsencode(word).decode("latin-1") for word in words] for words in (command, before_stop)
    ]
    paths = [path and os.fsencode(path).decode("latin-1") for path in (socket, directory)]
    return json.dumps([*commands, *paths, grace, owner]).encode() + b"\n"


def remove_socket(socket: str | bytes | None, directory: os.PathLike[str] | bytes | None) -> None:
    """Remove the socket of a server that has ended, and the directory that was made for it."""
    # Without pathlib, whose import would make each start milliseconds longer.
    with contextlib.suppress(OSError):
        if socket is not None and (_is_inside(socket, directory) or is_stale(socket)):
            os.unlink(socket)  # noqa: PTH108
    with contextlib.suppress(OSError):
        if directory is not None:
            os.rmdir(directory)  # noqa: PTH106


def _is_inside(socket: str | bytes | None, directory: os.PathLike[str] | bytes | None) -> bool:
    """Return whether the socket is in the directory that is made for the server."""
    if socket is None or directory is None:
        return False
    return os.path.dirname(os.fsencode(socket)) == os.fsencode(directory)  # noqa: PTH120


def is_stale(path: str | bytes) -> bool:
    """Return whether a socket file exists on which no process listens any more."""
    # Not needed until the server has ended, and importing it would double the time of a start.
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        # A server that accepts no connections at the moment would block this forever.
        probe.settimeout(1.0)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def main() -> None:
    """Run the server that the owner orders on stdin."""
    line = b""
    while not line.endswith(b"\n"):
        piece = _read(CHANNEL_IN)
        if not piece:
            return
        line += piece
    command, before_stop, *paths, grace, owner = json.loads(line)
    socket, directory = [path and path.encode("latin-1") for path in paths]
    watch = Watch(owner, grace)
    if directory is not None:
        try:
            make_directory(directory)
        except OSError as error:
            # Only a socket inside needs the directory. Without it, the next start may not find what
            # this one leaves behind.
            if _is_inside(socket, directory):
                return _report(no_directory=error.strerror)
        os.environb[DIRECTORY_VARIABLE.encode()] = directory
    end = _serve(_as_bytes(command), _as_bytes(before_stop), watch)
    remove_socket(socket, directory)
    _report(**end)


def _as_bytes(command: list[str]) -> list[bytes]:
    return [word.encode("latin-1") for word in command]


def _serve(command: list[bytes], before_stop: list[bytes], watch: Watch) -> dict[str, Any]:
    """Run the server to its end and return how it ended."""
    if watch.owner_gone:
        return {"error": "its owner is gone"}
    try:
        server = _start(command)
    except OSError as error:
        return {"error": error.strerror}
    _report(pid=server.pid)
    returncode = _until_end(server, before_stop, watch)
    # Its children end now: later, its number may belong to another group.
    _signal_group(server, signal.SIGKILL)
    _kill_detached()
    return {"returncode": returncode}


def make_directory(path: bytes) -> int:
    """Make a directory that only this user can enter, and lock it for as long as this process runs.

    The lock keeps cleaners of temporary directories away, and shows the next start that the
    directory is in use.

    Returns:
        The descriptor that holds the lock.

    Raises:
        OSError: It cannot be made, or belongs to another user.
    """
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)  # noqa: PTH102
        # Until it is locked, a sweep may remove it as abandoned.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            made = os.fstat(descriptor)
            if made.st_uid != os.geteuid() or made.st_mode & 0o077:
                os.close(descriptor)
                raise PermissionError(errno.EPERM, "other users can enter it", path)
            # On a file system without locks, a sweep leaves everything alone.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            if is_at(descriptor, path):
                return descriptor
            os.close(descriptor)


def is_at(descriptor: int, path: str | bytes) -> bool:
    """Return whether a path still leads to the file that was opened there."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116
    return False


def _start(command: list[bytes]) -> subprocess.Popen[bytes]:
    """Start the server in its own group; on Linux the group dies with this process."""
    guard = os.getpid()
    prctl = _prctl()
    # Only this process holds the writing end, until it ends.
    lifeline, _ = os.pipe()
    if prctl is not None:
        # Processes that detach themselves from the server become children of this one.
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        # A suspended guard must be continued to notice the end of its owner.
        prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    # A server that runs out of descriptors may stop accepting connections for good.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    # Servers derive the mode of their socket from it, and a user needs write permission to connect.
    os.umask(os.umask(0) | 0o022)

    def die_with_guard() -> None:
        _die_with_writer_of(lifeline)
        # The leader dies even if its group has closed the pipe. Linux watches the thread that
        # forked, not its process. Here, with one thread, they are the same.
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)

    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=LOG,
            stderr=LOG,
            process_group=0,
            pass_fds=(lifeline,),
            preexec_fn=die_with_guard if sys.platform == "linux" else None,
        )
    finally:
        os.close(lifeline)


def _die_with_writer_of(pipe: int) -> None:
    """Let Linux kill the group of this process as soon as no process can write to a pipe.

    Unlike the signal of PR_SET_PDEATHSIG, it reaches a server behind a script that did not exec it.
    """
    if sys.platform == "linux":
        # Some sandboxes emulate the system without it.
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpid())
            fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC)


def _prctl() -> Any:
    """Return the Linux system call by which a process asks to die with its parent."""
    if sys.platform != "linux":
        return None
    # Some builds of Python have no ctypes.
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        return ctypes.CDLL(None).prctl
    return None


def _kill_detached() -> None:
    """End all processes that detached themselves from the server, in any session; Linux only."""
    with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as children:  # noqa: PTH123
        while pids := children.read().split():
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
                os.waitpid(int(pid), 0)
            children.seek(0)


def _until_end(server: subprocess.Popen[bytes], before_stop: list[bytes], watch: Watch) -> int:
    """Wait for the end of the server, and end it when the owner orders it or is gone."""
    ending = Ending(server, before_stop)
    while (returncode := server.poll()) is None:
        grace = watch.wait(ending.next_step())
        if grace is not None:
            ending.begin(grace, graceful=not watch.orphaned)
    ending.finish()
    return returncode


class Ending:
    """The end of a server: the command before it, SIGTERM, and SIGKILL.

    Args:
        server: The server.
        before_stop: Command line to run before SIGTERM, within the grace; empty for none.
    """

    def __init__(self, server: subprocess.Popen[bytes], before_stop: list[bytes]) -> None:
        self._server = server
        self._before_stop = before_stop
        self._stop_command: subprocess.Popen[bytes] | None = None
        self._terminate_at = self._kill_at = math.inf

    def begin(self, grace: float, *, graceful: bool) -> None:
        """Begin the end, or hasten it.

        Args:
            grace: Seconds that the server has left.
            graceful: Whether somebody waits for the end, so that the command is run.
        """
        now = time.monotonic()
        self._kill_at = min(self._kill_at, now + grace)
        if graceful and self._command_runs:
            return
        self._terminate_at = now
        if graceful and grace and self._before_stop:
            command, self._before_stop = self._before_stop, []
            self._terminate_at = now + grace * BEFORE_STOP_SHARE
            # A program that cannot be run is like one that has ended.
            with contextlib.suppress(OSError):
                self._stop_command = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=LOG, stderr=LOG
                )

    def next_step(self) -> float:
        """Take the steps that are due.

        Returns:
            When to call it again, on the clock ``time.monotonic``.
        """
        now = time.monotonic()
        if now >= self._kill_at:
            _signal_group(self._server, signal.SIGKILL)
            self._kill_at = self._terminate_at = math.inf
        elif self._terminate_at < math.inf and (
            now >= self._terminate_at or not self._command_runs
        ):
            _signal_group(self._server, signal.SIGTERM)
            self._terminate_at = math.inf
        return min(self._terminate_at, self._kill_at)

    def finish(self) -> None:
        """End the command, if it has outlived the server."""
        if self._stop_command is not None:
            self._stop_command.kill()
            self._stop_command.wait()

    @property
    def _command_runs(self) -> bool:
        return self._stop_command is not None and self._stop_command.poll() is None


class Watch:
    """Events that a guard waits for: an order to stop, and the end of its owner or server.

    Args:
        owner: Process id of the parent.
        grace: Time that an order to stop leaves the server, in seconds.
    """

    def __init__(self, owner: int, grace: float) -> None:
        self._owner = owner
        self._grace = grace
        self._signals = _signal_pipe()
        self._exit = exit_handle(owner)
        self._sources = [CHANNEL_IN, self._signals]
        if self._exit is not None:
            self._sources.append(self._exit)

    @property
    def owner_gone(self) -> bool:
        """Whether this process has another parent now."""
        return os.getppid() != self._owner

    @property
    def orphaned(self) -> bool:
        """Whether the end of the owner was seen."""
        return CHANNEL_IN not in self._sources

    def wait(self, deadline: float) -> float | None:
        """Wait for the next event.

        Args:
            deadline: Longest time to wait, on the clock ``time.monotonic``.

        Returns:
            Seconds that the server has left; None if it may go on.
        """
        left = max(0.0, deadline - time.monotonic())
        if self._exit is None:
            left = min(left, _PARENT_CHECK_SECONDS)
        ready, _, _ = select.select(self._sources, [], [], None if left == math.inf else left)
        stop = self._signals in ready and signal.SIGTERM in os.read(self._signals, 4096)
        gone = self._exit in ready or self.owner_gone
        if CHANNEL_IN in ready:
            said = _read(CHANNEL_IN)
            if KILL in said:
                return 0.0
            stop = stop or STOP in said
            gone = gone or not said
        if gone and not self.orphaned:
            # A closed channel stays readable. From now on only the server matters.
            self._sources = [self._signals]
            return ORPHAN_GRACE
        return self._grace if stop else None


def _signal_pipe() -> int:
    """Return a descriptor from which the number of each received signal can be read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # Handlers and not SIG_IGN, which the server would inherit.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # The thread that started this process may have blocked some, which the server would inherit.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reader


def exit_handle(pid: int) -> Any:
    """Return a handle that becomes readable when a process ends, None if the system has none."""
    # The channel alone is not enough: whatever the owner forks holds it open.
    try:
        return os.pidfd_open(pid) if sys.platform == "linux" else exit_queue(pid, select)
    except (OSError, AttributeError):
        # Some builds of Python have no pidfd_open.
        return None


def close_handle(handle: Any) -> None:
    """Close a handle of ``exit_handle``."""
    if isinstance(handle, int):
        os.close(handle)
    else:
        handle.close()


def exit_queue(pid: int, api: Any) -> Any:
    """Return a kqueue that becomes readable when a process ends.

    Args:
        pid: The process.
        api: The module ``select`` of macOS.

    Raises:
        ProcessLookupError: It has ended already.
    """
    queue = api.kqueue()
    queue.control(
        [api.kevent(pid, api.KQ_FILTER_PROC, api.KQ_EV_ADD, api.KQ_NOTE_EXIT)],
        # No event is taken out here: one that stays in keeps the queue readable.
        0,
    )
    return queue


def _read(descriptor: int) -> bytes:
    # A socket is reset when its other end is closed with something unread.
    with contextlib.suppress(ConnectionResetError):
        return os.read(descriptor, 65536)
    return b""


def _report(**message: Any) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        os.write(CHANNEL_OUT, json.dumps(message).encode() + b"\n")


def _signal_group(server: subprocess.Popen[bytes], number: int) -> None:
    # macOS refuses to signal a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, number)


if __name__ == "__main__":
    main()
    # Its owner waits, and a regular exit of the interpreter takes longer than the whole stop.
    os._exit(0)
