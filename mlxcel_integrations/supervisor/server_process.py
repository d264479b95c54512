"""``ServerProcess`` and ``OwnedProcess``: a server process, its guard and its log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import MlxcelServerError
from . import guard
from .cleanup import remove_if_left, wait_for_end
from .logs import ServerLog

__all__ = [
    "Environment",
    "OwnedProcess",
    "ServerProcess",
    "in_words",
    "not_run",
    "spawning",
]


Environment = Callable[[], Mapping[str, str]]

spawning = threading.Lock()
"""Held while a process is started, so that no other thread forks meanwhile.

The child would inherit the pipe that tells ``Popen`` that the process runs, and ``Popen`` would
wait until the child ends.
"""
os.register_at_fork(
    before=spawning.acquire, after_in_parent=spawning.release, after_in_child=spawning.release
)


class ServerProcess:
    """A server process, known by reports over a channel.

    Args:
        channel: A socket to the guard or broker of the server, which writes its reports as lines
            of JSON, and closes it after the last one.
        log: The output of the server.

    Attributes:
        pid: Process id of the server, and of its group.
        path: Its socket, None for TCP.
        ready: Whether it has become ready, and has not been stopped since.
    """

    pid: int
    path: str | None

    def __init__(self, channel: socket.socket, log: ServerLog) -> None:
        self.log = log
        self.ready = False
        self._channel = channel
        self._owner = os.getpid()
        self._returncode: int | None = None
        self._ended = threading.Event()
        self._stopping = threading.Lock()
        self._reports = _received_reports(channel)
        self._watcher = threading.Thread(target=self._watch, name="mlxcel-guard", daemon=True)

    @property
    def serves(self) -> bool:
        """Whether it takes requests: it is ready, it runs, and its socket is still there."""
        return self.ready and self.poll() is None and (self.path is None or _is_there(self.path))

    @property
    def forked(self) -> bool:
        """Whether this is the copy in a forked child, which may use the server but not end it."""
        return os.getpid() != self._owner

    @property
    def cause(self) -> str:
        """What ended the server, in words."""
        return in_words(self._returncode or 0)

    def poll(self) -> int | None:
        """Return the exit status, None while it runs.

        A forked child cannot learn it, and returns that of a killed process.
        """
        if self.forked and self._returncode is None and not _process_exists(self.pid):
            self._returncode = -signal.SIGKILL
        return self._returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end of the process and return its exit status, as ``poll`` does."""
        limit = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        if not self.forked and not self._ended.wait(limit):
            raise subprocess.TimeoutExpired(f"server {self.pid}", timeout or 0)
        return self.poll()

    def mark_ready(self) -> None:
        """Note that the server is ready."""
        self.ready = True

    def terminate(self) -> None:
        """Ask the process to end; it is killed if it has not ended within its grace."""
        self._say(guard.STOP)

    def kill(self) -> None:
        """Kill the process."""
        self._say(guard.KILL)

    def stop(self) -> None:
        """End the process, or this program's use of it."""
        self.ready = False
        if self.forked:
            self._channel.close()
            return
        try:
            with self._stopping:
                self._stop()
        except BaseException:
            # An interrupt may come at any line. The guard or broker takes the closed channel for
            # the end of this program.
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)
            raise

    def _stop(self) -> None:
        raise NotImplementedError

    def _say(self, words: bytes) -> None:
        if not self.forked:
            with contextlib.suppress(OSError):
                self._channel.sendall(words)

    def _watch(self) -> None:
        """Take each report until the channel ends."""
        for report in self._reports:
            self._take(report)
        if self._returncode is None:
            self._lost()

    def _take(self, report: Mapping[str, Any]) -> None:
        if "returncode" in report:
            self._end(report["returncode"])

    def _lost(self) -> None:
        """Clean up when the guard or broker has ended before the server."""
        raise NotImplementedError

    def _end(self, returncode: int) -> None:
        self._returncode = returncode
        self._ended.set()


class OwnedProcess(ServerProcess):
    """A server process that this process owns.

    A guard process starts it, and ends it when this process ends, however that happens. This class
    does not know the ``ManagedServer``, so that it can stop the server after that is gone.

    Args:
        command: Its command line.
        environ: Returns its environment, which must not be kept, since it holds the key.
        path: Path of the socket that it will make, None for TCP.
        directory: A directory to be made for it, see ``BindAddress``.
        grace: Time from SIGTERM to SIGKILL, in seconds.
        log: Collects its output.

    Raises:
        MlxcelServerError: The system cannot run the command.
    """

    def __init__(
        self,
        command: list[str],
        environ: Environment,
        path: str | None,
        directory: Path | None,
        grace: float,
        log: ServerLog,
    ) -> None:
        with spawning:
            channel, output, self._guard = _start_guard(environ)
        super().__init__(channel, log)
        self.path, self._directory, self._grace = path, directory, grace
        self._guard_lost = False
        try:
            log.drain(output)
            self.pid = self._run_command(command)
            self._watcher.start()
        except BaseException:
            # The guard takes this for the end of this program.
            channel.close()
            self._guard.wait()
            raise

    @property
    def cause(self) -> str:
        """What ended the server, in words."""
        if self._guard_lost:
            return "its guard process, which something else has killed"
        return super().cause

    def stop(self) -> None:
        """End the process and all that it started, and remove its socket."""
        if self.forked:
            # Otherwise Popen warns, when it is collected, of a process that still runs.
            self._guard.returncode = 0
        super().stop()

    def _stop(self) -> None:
        self.terminate()
        self._await_guard()
        self._channel.close()
        self.log.join(0.5)
        self._clear()

    def _run_command(self, command: list[str]) -> int:
        """Let the guard start the server, and return its process id."""
        line = guard.order(command, self.path, self._directory, self._grace, self._owner)
        self._say(line)
        report = next(self._reports, None)
        if report is None:
            self.log.join(0.5)
            raise MlxcelServerError(
                "The guard of the server ended before it started the server. Check that "
                f"{sys.executable} works. It said:",
                stderr=self.log.tail,
                returncode=self._guard.wait(),
            )
        if "no_directory" in report and self._directory is not None:
            raise MlxcelServerError(
                f"Cannot make a directory for the server's socket in {self._directory.parent}: "
                f"{report['no_directory']}. Set TMPDIR to a writable directory."
            )
        if "error" in report:
            raise not_run(command[0], report["error"])
        pid: int = report["pid"]
        return pid

    def _watch(self) -> None:
        """Wait for the end of the server, and of its guard."""
        super()._watch()
        self._guard.wait()

    def _lost(self) -> None:
        # Linux has killed the server's group with its guard; other systems leave it running.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        wait_for_end(self.pid)
        if self._directory is not None:
            # Processes that have left the group, too.
            remove_if_left(self._directory)
        self._clear()
        self._guard_lost = True
        self._end(-signal.SIGKILL)

    def _clear(self) -> None:
        """Remove the socket, which servers leave behind, if a killed guard has not."""
        guard.clear(self.path, self._directory)

    def _await_guard(self) -> None:
        """Wait for the guard, and kill it if it does not end."""
        # The garbage collector may stop a server from any thread, even from this watcher.
        if threading.current_thread() is not self._watcher:
            self._watcher.join(self._grace + 2)
            if self._watcher.is_alive():
                self._guard.kill()
                self._watcher.join()


def in_words(returncode: int) -> str:
    """Return an exit status in words."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # one of the many real-time signals of Linux
        return f"signal {-returncode}"
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"signal {-returncode} ({name}{hint})"


def _start_guard(environ: Environment) -> tuple[socket.socket, int, subprocess.Popen[bytes]]:
    """Start a guard.

    Returns:
        Our end of its channel, a pipe with its output and that of its server, and its process.

    Raises:
        MlxcelServerError: The system cannot run it.
    """
    channel, far_end = socket.socketpair()
    try:
        for end in (channel, far_end):
            # Whatever socket.setdefaulttimeout says.
            end.settimeout(None)
        output, log_end = os.pipe()
        try:
            return channel, output, _spawn(far_end, log_end, environ)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(log_end)
    except BaseException:
        channel.close()
        raise
    finally:
        far_end.close()


def _spawn(channel: socket.socket, log: int, environ: Environment) -> subprocess.Popen[bytes]:
    # Isolated and without site, so that nothing the user has installed or set runs in it.
    command = [sys.executable, "-I", "-S", guard.__file__]
    try:
        return subprocess.Popen(
            command,
            stdin=channel.fileno(),
            stdout=channel.fileno(),
            stderr=log,
            env=environ(),
            # Ctrl-C in the terminal, and closing it, are for the user's program.
            start_new_session=True,
        )
    except OSError as error:
        reason = error.strerror
    # Raised out here, since the frames of the OSError would hold the environment.
    raise not_run(command[0], reason)


def not_run(program: str, reason: str | None) -> MlxcelServerError:
    """Return the error of a program that the system cannot run."""
    return MlxcelServerError(
        f"{program} cannot be run: {reason}. Check that it is a program for this kind of machine."
    )


def _is_there(path: str) -> bool:
    # Called before every request, and pathlib takes three times as long.
    return os.path.exists(path)  # noqa: PTH110


def _process_exists(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True


def _received_reports(channel: socket.socket) -> Iterator[dict[str, Any]]:
    """Yield each report until the other end is closed."""
    rest = b""
    # A guard or broker that is killed with something unread resets the connection.
    with contextlib.suppress(ConnectionResetError):
        while piece := channel.recv(65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)
