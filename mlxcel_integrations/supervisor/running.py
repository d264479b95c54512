"""A server process with its pipe, its log and its place."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

from ..client import health_status
from ..errors import MlxcelServerError
from .command import environment
from .logs import LogPump
from .place import Place

__all__ = ["Running", "in_words"]


class Running:
    """A server process with all that belongs to it.

    Knows nothing of the ``ManagedServer``, so that it can stop the process when that is gone.

    Args:
        command: Its command line.
        place: Where it listens.
        api_key: The key it asks for.
        grace: Time from SIGTERM to SIGKILL, in seconds.

    Raises:
        MlxcelServerError: The system cannot run the command.
    """

    def __init__(self, command: list[str], place: Place, api_key: str | None, grace: float) -> None:
        self.place = place
        self.ready = False
        self._owner = os.getpid()
        self._grace = grace
        self._stopping = threading.Lock()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(os.environ, api_key),
                # A group of its own: Ctrl-C in the terminal is for the user's program, and a
                # wrapper script is stopped together with what it started.
                start_new_session=True,
            )
        except OSError as error:
            raise MlxcelServerError(
                f"{command[0]} cannot be run: {error.strerror}. Check that it is a program for "
                "this kind of machine."
            ) from None
        assert self.process.stdout is not None
        self.log = LogPump(os.dup(self.process.stdout.fileno()), api_key)
        self.process.stdout.close()

    def poll(self) -> int | None:
        """Return the exit status; None in a forked child, which is not the process's parent."""
        if os.getpid() != self._owner:
            return None
        if self.process.returncode is None and self.process.poll() is not None:
            # What it left behind ends now: later the number may be that of another group.
            self._signal(signal.SIGKILL)
        return self.process.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit status."""
        if self.process.returncode is None:
            self.process.wait(timeout)
            self._signal(signal.SIGKILL)
        return self.process.returncode

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
            self.process.returncode = 0
            return
        with self._stopping:
            if self.poll() is None:
                self._signal(signal.SIGTERM)
                try:
                    self.wait(self._grace)
                except subprocess.TimeoutExpired:
                    self._signal(signal.SIGKILL)
                    self.wait()
            self.log.join(0.5)
            with contextlib.suppress(OSError):
                self.place.clear()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def in_words(returncode: int) -> str:
    """Tell an exit status in words."""
    if returncode >= 0:
        return f"exit status {returncode}"
    name = signal.Signals(-returncode).name
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"signal {-returncode} ({name}{hint})"
