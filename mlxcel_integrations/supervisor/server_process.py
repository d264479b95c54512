"""``ServerProcess``: a server process, known by the reports of its guard or broker."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import MlxcelServerError
from . import guard
from .logs import ServerLog
from .single_flight import StartLimit

__all__ = [
    "Environment",
    "ServerProcess",
    "cannot_run_error",
    "describe_exit",
]


Environment = Callable[[], Mapping[str, str]]

_LIMIT_CHECK_SECONDS = 0.05
"""Seconds between two checks whether a start that waits for another process must give up."""

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
        guard_pid: Process id of its guard.
        path: Its socket, None for TCP.
        ready: Whether it has become ready, and has not been stopped since.
    """

    pid: int
    guard_pid: int
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
        self._changed = threading.Condition()
        self._stopping = threading.Lock()
        self._stop_begun = False
        self._watched = threading.Event()
        self._unread = b""
        self._reports: deque[dict[str, Any]] = deque()
        self._watcher = threading.Thread(target=self._watch, name="mlxcel-guard", daemon=True)

    @property
    def serves(self) -> bool:
        """Whether it takes requests: it is ready, it runs, and its socket is still there."""
        return self.ready and self.poll() is None and (self.path is None or _path_exists(self.path))

    @property
    def forked(self) -> bool:
        """Whether this is the copy in a forked child, which may use the server but not end it."""
        return os.getpid() != self._owner

    @property
    def cause(self) -> str:
        """What ended the server, in words."""
        return describe_exit(self._returncode or 0)

    def poll(self) -> int | None:
        """Return the exit status, None while it runs.

        A forked child cannot learn it, and returns the status of a killed process.
        """
        if self.forked and self._returncode is None and not _process_exists(self.pid):
            self._returncode = -signal.SIGKILL
        return self._returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end of the process and return its exit status, as ``poll`` does.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
            MlxcelTimeoutError: It was asked to end, and its broker does not answer.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self.forked and self._returncode is None:
            now = time.monotonic()
            if now >= self._end_due:
                self._give_up()
            elif now >= deadline:
                raise subprocess.TimeoutExpired(f"server {self.pid}", timeout or 0)
            with self._changed:
                if self._returncode is None:
                    left = min(deadline, self._end_due) - now
                    self._changed.wait(
                        None if left == math.inf else min(left, threading.TIMEOUT_MAX)
                    )
        return self.poll()

    def mark_ready(self) -> None:
        """Note that the server is ready."""
        self.ready = True

    def terminate(self) -> None:
        """Ask the process to end; it is killed if it has not ended within its grace."""
        self._send_order(guard.STOP)
        self._expect_end(self._grace)

    def kill(self) -> None:
        """Kill the process."""
        self._send_order(guard.KILL)
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

    def begin_stop(self) -> None:
        """Begin to end the process, or this program's use of it; the program's exit waits for it.

        For finalizers, which run in any thread: an event loop must not wait for them.
        """
        if self.forked:
            return self.stop()
        self.ready = False
        # It also runs if the program is already ending.
        self._at_exit = weakref.finalize(ServerProcess, self.stop)
        self._stop_begun = True
        self._ask_to_stop()
        if self._watched.is_set():
            self._finish()

    def _stop(self) -> None:
        raise NotImplementedError

    def _ask_to_stop(self) -> None:
        """Begin what ``stop`` does, without waiting."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Finish what ``begin_stop`` has begun; may be called twice."""
        self._channel.close()
        self._at_exit.detach()

    def _give_up(self) -> None:
        """Act on a guard or broker that has not carried out an order in time."""
        raise NotImplementedError

    def _expect_end(self, seconds: float) -> None:
        """Note by when an order must have been carried out."""
        if not self.forked:
            with self._changed:
                self._end_seconds = seconds + self._answer_seconds
                self._end_due = time.monotonic() + self._end_seconds
                self._changed.notify_all()

    def _send_order(self, words: bytes) -> None:
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
        """Take reports until the channel ends, or the server has ended without a report."""
        reporter_hangs = self._read_reports()
        if self._returncode is None:
            self._end_unreported(reporter_hangs)
        self._after_end()
        self._watched.set()
        if self._stop_begun:
            self._finish()

    def _read_reports(self) -> bool:
        """Take reports as they come.

        Returns:
            Whether the server has ended without a report of it.
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
                self._handle_reports()
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
            self._handle_reports()
        return False

    def _handle_reports(self) -> None:
        while self._reports:
            self._handle_report(self._reports.popleft())

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

    def _handle_report(self, report: Mapping[str, Any]) -> None:
        if "returncode" in report:
            self._set_returncode(report["returncode"])

    def _end_unreported(self, reporter_hangs: bool) -> None:
        """Clean up when the guard or broker has not reported the end of the server.

        Args:
            reporter_hangs: Whether the guard or broker still runs, but the server does not.
        """
        raise NotImplementedError

    def _set_returncode(self, returncode: int) -> None:
        with self._changed:
            self._returncode = returncode
            self._changed.notify_all()


def describe_exit(returncode: int) -> str:
    """Return an exit status in words."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # one of the many real-time signals of Linux
        return f"signal {-returncode}"
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"signal {-returncode} ({name}{hint})"


def cannot_run_error(program: str, reason: str | None) -> MlxcelServerError:
    """Return the error of a program that the system cannot run."""
    return MlxcelServerError(
        f"{program} cannot be run: {reason}. Check that it is a program for this kind of machine."
    )


def _path_exists(path: str) -> bool:
    # Called before every request, and pathlib takes three times as long.
    return os.path.exists(path)  # noqa: PTH110


def _process_exists(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True
