"""``SharedProcess``: a lease of a server that other processes of the same user share."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any

from ..errors import MlxcelServerError, MlxcelTimeoutError
from . import broker
from .broker_directory import BrokerDirectory
from .cleanup import reap, wait_for_end
from .logs import ServerLog
from .owned_process import OwnedProcess
from .server_process import ServerProcess
from .single_flight import StartLimit

__all__ = ["SharedProcess", "broker_silent"]

_AFTER_GUARD_SECONDS = 3.0
"""Time that a broker has, beyond its guard's, to carry out an order and report it."""


class SharedProcess(ServerProcess):
    """A lease of a server that a broker keeps.

    Args:
        channel: A connection to the broker.
        broker_pid: Process id of the broker.
        directory: The directory of the broker.
        log: Collects the output of the server.
        keep_alive: How long the server stays after its last lease, in seconds.
        limit: How long to wait for the broker.

    Attributes:
        url: Address of the server.

    Raises:
        MlxcelServerError: The system cannot run it.
        MlxcelTimeoutError: The broker does not answer.
        StartCancelled: Nobody waits for the start any more.
        EOFError: The broker was about to end.
    """

    _answer_seconds = OwnedProcess._answer_seconds + _AFTER_GUARD_SECONDS

    def __init__(
        self,
        channel: socket.socket,
        broker_pid: int,
        directory: BrokerDirectory,
        log: ServerLog,
        keep_alive: float,
        limit: StartLimit,
    ) -> None:
        super().__init__(channel, log, 0.0)
        self._broker_pid = broker_pid
        self._directory = directory
        self._keep_alive = keep_alive
        self._left = False
        self._cause = "its broker process, which something else has killed"
        try:
            greeting = self._first_report(limit)
        except TimeoutError:
            raise broker_silent(broker_pid, limit.seconds) from None
        if greeting is None:
            raise EOFError
        if "error" in greeting:
            raise MlxcelServerError(greeting["error"])
        self.pid = greeting["pid"]
        self.guard_pid = greeting["guard"]
        # The grace that was given by the process that started the broker.
        self._grace = greeting["grace"]
        self.url: str = greeting["url"]
        path: str | None = greeting["socket"]
        self.path = path and os.fsdecode(path.encode("latin-1"))
        self._watcher.start()

    @property
    def cause(self) -> str:
        """What ended the server, in words."""
        return self._cause

    def mark_ready(self) -> None:
        """Let the broker keep the server for a while after its last lease."""
        super().mark_ready()
        self._send_order(b"%s %f\n" % (broker.READY, self._keep_alive))

    def _stop(self) -> None:
        """Give the lease back; the last one ends the server, unless it is to be kept alive.

        Raises:
            MlxcelTimeoutError: The broker does not answer.
        """
        self._ask_to_stop()
        limit, reporter_hangs = self._grace + self._answer_seconds, False
        if threading.current_thread() is not self._watcher:
            self._watcher.join(limit)
            reporter_hangs = self._watcher.is_alive()
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)
            self._watcher.join()
        self._channel.close()
        self.log.join(0.5)
        if reporter_hangs:
            raise broker_silent(self._broker_pid, limit)

    def _ask_to_stop(self) -> None:
        self._left = True
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def _give_up(self) -> None:
        raise broker_silent(self._broker_pid, self._end_seconds)

    def _after_end(self) -> None:
        self.log.close()
        if self._returncode is not None:
            reap(self._broker_pid)
            reap(-self.pid)

    def _handle_report(self, report: Mapping[str, Any]) -> None:
        if "log" in report:
            self.log.feed(report["log"].encode("latin-1"))
        self._cause = report.get("cause", self._cause)
        super()._handle_report(report)

    def _end_unreported(self, reporter_hangs: bool) -> None:
        if self._left:
            return
        if reporter_hangs:
            self._cause = (
                f"an unknown status: its broker (process {self._broker_pid}) does not answer"
            )
        else:
            # When the broker is gone, its guard ends the server.
            for pid in (self.pid, self.guard_pid):
                wait_for_end(pid)
            for pid in (self._broker_pid, self.guard_pid, -self.pid):
                reap(pid)
            self._directory.remove_if_abandoned()
        self._set_returncode(-signal.SIGKILL)


def broker_silent(pid: int, seconds: float) -> MlxcelTimeoutError:
    """Return the error of a broker, or of a process that starts one, which does not answer."""
    named = f" (process {pid})" if pid else ""
    advice = f"kill -CONT {pid}" if pid else "kill -CONT"
    ended = f"kill -KILL {pid}" if pid else "kill -KILL"
    return MlxcelTimeoutError(
        f"The broker of the shared server{named} has not answered within {seconds:g} s. If it was "
        f"stopped, continue it with `{advice}`; `{ended}` ends it and the server for all programs."
    )
