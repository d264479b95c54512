"""``ServerProcess`` and ``OwnedProcess``: a server process, its guard and its log."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import MlxcelServerError, MlxcelTimeoutError
from . import guard
from .cleanup import reap, remove_if_left, wait_for_end
from .logs import ServerLog
from .single_flight import StartLimit

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

_LIMIT_CHECK_SECONDS = 0.05
"""Longest time until a start that waits for another process notices its end, in seconds."""

_REPORT_SECONDS = 4.0
"""How long a guard or broker has to report the end of its server, in seconds."""


class ServerProcess:
    """A server process, known by reports over a channel.

    Args:
        channel: A socket to the guard or broker of the server, which writes its reports as lines
            of JSON, and closes it after the last one.
        log: The output of the server.
        grace: Time from SIGTERM to SIGKILL, in seconds.

    Attributes:
        pid: Process id of the server, and of its group.
        path: Its socket, None for TCP.
        ready: Whether it has become ready, and has not been stopped since.
    """

    pid: int
    path: str | None

    _answer_seconds: float
    """Time that a guard or broker has, beyond the grace, to carry out an order and report it."""

    def __init__(self, channel: socket.socket, log: ServerLog, grace: float) -> None:
        self.log = log
        self.ready = False
        self._channel = channel
        self._grace = grace
        self._owner = os.getpid()
        self._returncode: int | None = None
        self._end_seconds = self._end_due = math.inf
        self._news = threading.Condition()
        self._stopping = threading.Lock()
        self._let_go = False
        self._watched = threading.Event()
        self._unread = b""
        self._reports: deque[dict[str, Any]] = deque()
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
        """Wait for the end of the process and return its exit status, as ``poll`` does.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
            MlxcelTimeoutError: It was told to end, and its broker does not answer.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self.forked and self._returncode is None:
            now = time.monotonic()
            if now >= self._end_due:
                self._give_up()
            elif now >= deadline:
                raise subprocess.TimeoutExpired(f"server {self.pid}", timeout or 0)
            with self._news:
                if self._returncode is None:
                    left = min(deadline, self._end_due) - now
                    self._news.wait(None if left == math.inf else min(left, threading.TIMEOUT_MAX))
        return self.poll()

    def mark_ready(self) -> None:
        """Note that the server is ready."""
        self.ready = True

    def terminate(self) -> None:
        """Ask the process to end; it is killed if it has not ended within its grace."""
        self._say(guard.STOP)
        self._expect_end(self._grace)

    def kill(self) -> None:
        """Kill the process."""
        self._say(guard.KILL)
        self._expect_end(0.0)

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

    def let_go(self) -> None:
        """End the process, or this program's use of it, without waiting, but before this program.

        For finalizers, which run in any thread: an event loop must not wait for them.
        """
        if self.forked:
            return self.stop()
        self.ready = False
        # It is also run if the program is ending already.
        self._at_exit = weakref.finalize(ServerProcess, self.stop)
        self._let_go = True
        self._ask_to_stop()
        if self._watched.is_set():
            self._finish()

    def _stop(self) -> None:
        raise NotImplementedError

    def _ask_to_stop(self) -> None:
        """Begin what ``stop`` does, without waiting."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Finish what ``let_go`` has begun; may be called twice."""
        self._channel.close()
        self._at_exit.detach()

    def _give_up(self) -> None:
        """Act on a guard or broker that has not carried out an order in time."""
        raise NotImplementedError

    def _expect_end(self, seconds: float) -> None:
        """Note when an order must have been carried out."""
        if not self.forked:
            with self._news:
                self._end_seconds = seconds + self._answer_seconds
                self._end_due = time.monotonic() + self._end_seconds
                self._news.notify_all()

    def _say(self, words: bytes) -> None:
        if not self.forked:
            with contextlib.suppress(OSError):
                self._channel.sendall(words)

    def _first_report(self, limit: StartLimit) -> dict[str, Any] | None:
        """Wait for the first report, and return None if there is none.

        Raises:
            StartCancelled: Nobody waits for the start any more.
            TimeoutError: It has not come in time.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            while True:
                if selector.select(_LIMIT_CHECK_SECONDS):
                    more = self._receive()
                    if self._reports:
                        return self._reports.popleft()
                    if not more:
                        return None
                limit.pause()

    def _watch(self) -> None:
        """Take each report until the end of the channel, or of a server of which nobody tells."""
        silent = self._take_reports()
        if self._returncode is None:
            self._lost(silent)
        self._after_end()
        self._watched.set()
        if self._let_go:
            self._finish()

    def _take_reports(self) -> bool:
        """Take reports as they come.

        Returns:
            Whether the server has ended, and nobody has reported it.
        """
        with contextlib.ExitStack() as cleanup:
            selector = cleanup.enter_context(selectors.DefaultSelector())
            selector.register(self._channel, selectors.EVENT_READ)
            exit_handle = guard.exit_handle(self.pid)
            if exit_handle is not None:
                cleanup.callback(guard.close_handle, exit_handle)
                selector.register(exit_handle, selectors.EVENT_READ)
            runs = exit_handle is not None or _process_exists(self.pid)
            patience = None if runs else _REPORT_SECONDS
            more = True
            while more:
                self._take_all()
                if self._returncode is not None:
                    patience = None
                ready = [key.fileobj for key, _ in selector.select(patience)]
                if not ready:
                    return True
                if self._channel in ready:
                    more = self._receive()
                if exit_handle in ready:
                    selector.unregister(exit_handle)
                    patience = _REPORT_SECONDS
            self._take_all()
        return False

    def _take_all(self) -> None:
        while self._reports:
            self._take(self._reports.popleft())

    def _receive(self) -> bool:
        """Read the reports that have arrived; False at the end of the channel."""
        piece = b""
        # A guard or broker that is killed with something unread resets the connection.
        with contextlib.suppress(OSError):
            piece = self._channel.recv(65536)
        *lines, self._unread = (self._unread + piece).split(b"\n")
        self._reports.extend(json.loads(line) for line in lines)
        return bool(piece)

    def _after_end(self) -> None:
        """Clean up after the last report."""

    def _take(self, report: Mapping[str, Any]) -> None:
        if "returncode" in report:
            self._end(report["returncode"])

    def _lost(self, silent: bool) -> None:
        """Clean up when the guard or broker has not reported the end of the server.

        Args:
            silent: Whether it still runs, but the server does not.
        """
        raise NotImplementedError

    def _end(self, returncode: int) -> None:
        with self._news:
            self._returncode = returncode
            self._news.notify_all()


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
        limit: How long to wait for the guard.

    Raises:
        MlxcelServerError: The system cannot run the command.
        MlxcelTimeoutError: The guard does not answer.
        StartCancelled: Nobody waits for the start any more.
    """

    _answer_seconds = 2.0

    def __init__(
        self,
        command: list[str],
        environ: Environment,
        path: str | None,
        directory: Path | None,
        grace: float,
        log: ServerLog,
        limit: StartLimit,
    ) -> None:
        with spawning:
            channel, output, self._guard = _start_guard(environ)
        super().__init__(channel, log, grace)
        self.path, self._directory = path, directory
        self._guard_failure: str | None = None
        try:
            log.drain(output)
            self.pid = self._run_command(command, limit)
            self._watcher.start()
        except BaseException:
            # The guard takes this for the end of this program.
            channel.close()
            self._end_guard()
            raise

    @property
    def guard_pid(self) -> int:
        """Process id of the guard."""
        return self._guard.pid

    @property
    def cause(self) -> str:
        """What ended the server, in words."""
        return self._guard_failure or super().cause

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

    def _run_command(self, command: list[str], limit: StartLimit) -> int:
        """Let the guard start the server, and return its process id."""
        line = guard.order(command, self.path, self._directory, self._grace, self._owner)
        self._say(line)
        try:
            report = self._first_report(limit)
        except TimeoutError:
            raise MlxcelTimeoutError(
                f"The guard of the server (process {self._guard.pid}) has not answered within "
                f"{limit.seconds:g} s, and was ended. Check that nothing stops processes on this "
                "machine."
            ) from None
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

    def _ask_to_stop(self) -> None:
        self._say(guard.STOP)

    def _finish(self) -> None:
        self._clear()
        super()._finish()

    def _give_up(self) -> None:
        self._end_due = math.inf
        self._guard.kill()

    def _after_end(self) -> None:
        self._guard.wait()

    def _lost(self, silent: bool) -> None:
        self._guard_failure = "its guard process, which something else has killed"
        if silent:
            self._guard_failure = "an unknown status: its guard process is silent"
            self._guard.kill()
        self._guard.wait()
        # Linux has killed the server's group with its guard; other systems leave it running.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        wait_for_end(self.pid)
        if self._directory is not None:
            # Processes that have left the group, too.
            remove_if_left(self._directory)
        reap(-self.pid)
        self._clear()
        self._end(-signal.SIGKILL)

    def _end_guard(self) -> None:
        """End a guard that sees the channel closed, even if it is stopped."""
        try:
            self._guard.wait(guard.ORPHAN_GRACE + self._answer_seconds)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def _clear(self) -> None:
        """Remove the socket, which servers leave behind, if a killed guard has not."""
        guard.clear(self.path, self._directory)

    def _await_guard(self) -> None:
        """Wait for the guard, and kill it if it does not end."""
        # The garbage collector may stop a server from any thread, even from this watcher.
        if threading.current_thread() is not self._watcher:
            self._watcher.join(self._grace + self._answer_seconds)
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
