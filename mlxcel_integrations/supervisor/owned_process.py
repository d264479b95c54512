"""``OwnedProcess``: a server process of this program, with a guard between the two."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ..errors import MlxcelServerError, MlxcelTimeoutError
from ..forks import between_forks
from . import guard
from .cleanup import reap, remove_if_abandoned, wait_for_end
from .logs import ServerLog
from .server_process import Environment, ServerProcess, cannot_run_error
from .single_flight import StartLimit

__all__ = ["OwnedProcess"]


class OwnedProcess(ServerProcess):
    """A server process that this process owns.

    A guard process starts it, and ends it when this process ends, however that happens. This class
    does not know the ``ManagedServer``, so that it can stop the server after that is gone.

    Args:
        command: Its command line.
        environ: Returns its environment, which must not be kept, since it holds the key.
        path: Path of the socket that it will make, None for TCP.
        directory: Directory to create for it, see ``BindAddress``.
        grace: Time from SIGTERM to SIGKILL, in seconds.
        log: Collects its output.
        limit: How long to wait for the guard.
        before_stop: Command line that the guard runs before SIGTERM, within the grace.

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
        before_stop: Sequence[str] = (),
    ) -> None:
        with between_forks:
            channel, output, self._guard = _start_guard(environ)
        super().__init__(channel, log, grace)
        self.guard_pid = self._guard.pid
        self.path, self._directory = path, directory
        self._guard_failure: str | None = None
        try:
            log.drain(output)
            self.pid = self._run_command(command, before_stop, limit)
            self._watcher.start()
        except BaseException:
            # The guard takes this for the end of this program.
            channel.close()
            self._end_guard()
            raise

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

    def _run_command(
        self, command: list[str], before_stop: Sequence[str], limit: StartLimit
    ) -> int:
        """Let the guard start the server, and return its process id."""
        line = guard.start_order(
            command, self.path, self._directory, self._grace, self._owner, before_stop
        )
        self._send_order(line)
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
            raise cannot_run_error(command[0], report["error"])
        pid: int = report["pid"]
        return pid

    def _ask_to_stop(self) -> None:
        self._send_order(guard.STOP)

    def _finish(self) -> None:
        self._clear()
        super()._finish()

    def _give_up(self) -> None:
        self._end_due = math.inf
        self._kill_guard()

    def _after_end(self) -> None:
        self._guard.wait()

    def _kill_guard(self) -> None:
        """Kill a guard that does not answer, which ends the server as well."""
        self._guard_failure = "its guard process, which did not answer and was killed"
        self._guard.kill()

    def _end_unreported(self, reporter_hangs: bool) -> None:
        if reporter_hangs:
            self._guard_failure = "an unknown status: its guard process did not answer"
            self._guard.kill()
        elif self._guard_failure is None:
            self._guard_failure = "its guard process, which something else has killed"
        self._guard.wait()
        # Linux has killed the server's group with its guard; other systems leave it running.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        wait_for_end(self.pid)
        if self._directory is not None:
            # This also ends processes that have left the group.
            remove_if_abandoned(self._directory)
        reap(-self.pid)
        self._clear()
        self._set_returncode(-signal.SIGKILL)

    def _end_guard(self) -> None:
        """End a guard whose channel is closed, even if it is suspended."""
        try:
            self._guard.wait(guard.ORPHAN_GRACE + self._answer_seconds)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def _clear(self) -> None:
        """Remove the socket, which servers leave behind, if a killed guard has not."""
        guard.remove_socket(self.path, self._directory)

    def _await_guard(self) -> None:
        """Wait for the guard, and kill it if it does not end."""
        # The garbage collector may stop a server from any thread, even from this watcher.
        if threading.current_thread() is not self._watcher:
            self._watcher.join(self._grace + self._answer_seconds)
            if self._watcher.is_alive():
                self._kill_guard()
                self._watcher.join()


def _start_guard(environ: Environment) -> tuple[socket.socket, int, subprocess.Popen[bytes]]:
    """Start a guard.

    Returns:
        Our end of its channel, a pipe with the output of guard and server, and its process.

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
    # Raised outside the handler, since the frames of the OSError hold the environment.
    raise cannot_run_error(command[0], reason)
