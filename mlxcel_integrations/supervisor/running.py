"""A server process with its guard, its log and its place."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..client import health_status
from ..errors import MlxcelServerError
from . import guard
from .command import environment
from .logs import LogPump
from .place import Place

__all__ = ["Running", "in_words"]


class Running:
    """A server process with all that belongs to it.

    A guard process starts it, and ends it when this process ends in whatever way. Knows nothing of
    the ``ManagedServer``, so that it can stop the server when that is gone.

    Args:
        command: Its command line.
        place: Where it listens.
        api_key: The key it asks for.
        grace: Time from SIGTERM to SIGKILL, in seconds.

    Attributes:
        pid: Process id of the server, which is also that of its group.

    Raises:
        MlxcelServerError: The system cannot run the command.
    """

    def __init__(self, command: list[str], place: Place, api_key: str | None, grace: float) -> None:
        self.place = place
        self.ready = False
        self._owner = os.getpid()
        self._grace = grace
        self._returncode: int | None = None
        self._guard_lost = False
        self._ended = threading.Event()
        self._stopping = threading.Lock()
        self._channel, far_end = _socket_pair()
        log, log_end = os.pipe()
        try:
            self._guard = _spawn(far_end, log_end, environment(os.environ, api_key))
        except BaseException:
            os.close(log)
            self._channel.close()
            raise
        finally:
            far_end.close()
            os.close(log_end)
        self._reports = _reports(self._channel)
        self._watcher = threading.Thread(target=self._watch, name="mlxcel-guard", daemon=True)
        try:
            self.log = LogPump(log, api_key)
            self.pid = self._order(command)
            self._watcher.start()
        except BaseException:
            # The guard takes it for our end.
            self._channel.close()
            self._guard.wait()
            raise

    @property
    def cause(self) -> str:
        """What the server ended with, in words."""
        if self._guard_lost:
            return "its guard process, which something else has killed"
        return in_words(self._returncode or 0)

    def poll(self) -> int | None:
        """Return the exit status; None in a forked child, which the guard does not know."""
        return self._returncode if os.getpid() == self._owner else None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end of the process and return what ``poll`` does."""
        if os.getpid() == self._owner and not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"server {self.pid}", timeout or 0)
        return self.poll()

    def health(self) -> int | None:
        """Return the status of ``/health``, None if nobody answers yet."""
        path = self.place.endpoint.socket
        return (
            None
            if path is not None and not Path(path).exists()
            else health_status(self.place.endpoint)
        )

    def stop(self) -> None:
        """End the process and all that it started, and remove what was made for it."""
        if os.getpid() != self._owner:
            # Popen would warn, when it is collected, of a process that still runs.
            self._guard.returncode = 0
            self._channel.close()
            return
        with self._stopping:
            with contextlib.suppress(OSError):
                self._channel.sendall(b"stop\n")
            self._join()
            self._channel.close()
            self.log.join(0.5)
            self.place.clear()

    def _order(self, command: list[str]) -> int:
        """Have the server started and return its process id."""
        path, directory = self.place.endpoint.socket, self.place.directory
        line = guard.order(command, path, directory, self._grace, self._owner)
        with contextlib.suppress(OSError):
            self._channel.sendall(line)
        report = next(self._reports, None)
        if report is None:
            self.log.join(0.5)
            raise MlxcelServerError(
                f"The guard of the server ended before it had started it. Check that "
                f"{sys.executable} is a Python that runs. It said:",
                stderr=self.log.tail,
                returncode=self._guard.wait(),
            )
        if "no_directory" in report and directory is not None:
            raise MlxcelServerError(
                f"No directory for the server's socket can be made in {directory.parent}: "
                f"{report['no_directory']}. Set TMPDIR to a directory that is writable."
            )
        if "error" in report:
            raise _not_run(command[0], report["error"])
        pid: int = report["pid"]
        return pid

    def _watch(self) -> None:
        """Wait for the end of the server, and of its guard."""
        for report in self._reports:
            self._returncode = report["returncode"]
            self._ended.set()
        if self._returncode is None:
            # Linux has killed the server with its guard; not so what that has started, and
            # other systems leave all of them.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.place.clear()
            self._guard_lost = True
            self._returncode = -signal.SIGKILL
            self._ended.set()
        self._guard.wait()

    def _join(self) -> None:
        """Wait for the guard, and kill it when something holds it up."""
        # The collector may run in any thread, and so may the end of a server nobody refers to.
        if threading.current_thread() is not self._watcher:
            self._watcher.join(self._grace + 2)
            if self._watcher.is_alive():
                self._guard.kill()
                self._watcher.join()


def in_words(returncode: int) -> str:
    """Tell an exit status in words."""
    if returncode >= 0:
        return f"exit status {returncode}"
    name = signal.Signals(-returncode).name
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"signal {-returncode} ({name}{hint})"


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        # Whatever socket.setdefaulttimeout says.
        end.settimeout(None)
    return pair


def _spawn(channel: socket.socket, log: int, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a guard.

    Raises:
        MlxcelServerError: The system cannot run it.
    """
    # Isolated, and without site: nothing that the user has installed or set runs in it.
    command = [sys.executable, "-I", "-S", guard.__file__]
    try:
        return subprocess.Popen(
            command,
            stdin=channel.fileno(),
            stdout=channel.fileno(),
            stderr=log,
            env=environ,
            # Ctrl-C in the terminal, and its end, are for the user's program.
            start_new_session=True,
        )
    except OSError as error:
        raise _not_run(command[0], error.strerror) from None


def _not_run(program: str, reason: str | None) -> MlxcelServerError:
    return MlxcelServerError(
        f"{program} cannot be run: {reason}. Check that it is a program for this kind of machine."
    )


def _reports(channel: socket.socket) -> Iterator[dict[str, Any]]:
    """Yield what a guard reports, until it ends."""
    rest = b""
    # A guard that was killed before it read everything resets the connection.
    with contextlib.suppress(ConnectionResetError):
        while piece := channel.recv(4096):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)
