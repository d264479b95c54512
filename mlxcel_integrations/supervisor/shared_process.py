"""``SharedProcess``: a lease of a server that other processes of the same user share."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import MlxcelServerError
from . import broker
from .bind_address import choose_bind_address
from .broker import BrokerConfig
from .broker_directory import BrokerDirectory, unlock
from .cleanup import wait_for_end
from .logs import ServerLog
from .server_process import Environment, ServerProcess, not_run, spawning
from .server_spec import ServerSpec
from .single_flight import CancelledWithin, StartCancelled

__all__ = ["SharedProcess", "join_shared"]

_RETRY_SECONDS = 0.01
_ATTEMPTS = 5


class SharedProcess(ServerProcess):
    """A lease of a server that a broker keeps.

    Args:
        channel: A connection to the broker.
        directory: The directory of the broker.
        log: Collects the output of the server.
        keep_alive: How long the server is to stay after its last lease, in seconds.

    Attributes:
        url: Address of the server.

    Raises:
        MlxcelServerError: The system cannot run it.
        EOFError: The broker was about to end.
    """

    def __init__(
        self,
        channel: socket.socket,
        directory: BrokerDirectory,
        log: ServerLog,
        keep_alive: float,
    ) -> None:
        super().__init__(channel, log)
        self._directory = directory
        self._keep_alive = keep_alive
        self._left = False
        self._cause = "its broker process, which something else has killed"
        greeting = next(self._reports, None)
        if greeting is None:
            raise EOFError
        if "error" in greeting:
            raise MlxcelServerError(greeting["error"])
        self.pid = greeting["pid"]
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
        self._say(b"%s %f\n" % (broker.READY, self._keep_alive))

    def _stop(self) -> None:
        """Give the lease back; the last one ends the server, unless it is to be kept alive."""
        self._left = True
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
        if threading.current_thread() is not self._watcher:
            self._watcher.join()
        self._channel.close()
        self.log.join(0.5)

    def _watch(self) -> None:
        super()._watch()
        self.log.close()

    def _take(self, report: Mapping[str, Any]) -> None:
        if "log" in report:
            self.log.feed(report["log"].encode("latin-1"))
        self._cause = report.get("cause", self._cause)
        super()._take(report)

    def _lost(self) -> None:
        if not self._left:
            # When the broker is gone, its guard ends the server.
            wait_for_end(self.pid)
            self._directory.remove_if_left()
            self._end(-signal.SIGKILL)


def join_shared(
    spec: ServerSpec, log: ServerLog, cancelled_within: CancelledWithin
) -> SharedProcess:
    """Join the server that the processes of this user share, or start it.

    Args:
        spec: The server.
        log: Collects its output.
        cancelled_within: Sleeps, and tells whether the start was cancelled meanwhile.

    Raises:
        MlxcelServerError: It cannot be started.
        StartCancelled: Nobody waits for it any more.
    """
    directory = BrokerDirectory(spec.fingerprint())
    for _ in range(_ATTEMPTS):
        try:
            with directory.made():
                channel = _connect_or_start(directory, spec, cancelled_within)
                return _lease(channel, directory, log, spec.options.keep_alive)
        except (EOFError, FileNotFoundError):
            # The broker was about to end, and has removed the directory.
            continue
        except OSError as error:
            raise MlxcelServerError(
                f"The directory of shared servers, {directory.path.parent}, cannot be used: "
                f"{error.strerror}. Remove it, or set XDG_RUNTIME_DIR to a directory of your own."
            ) from None
    raise MlxcelServerError(
        "The broker of the shared server ended before it started the server. Check that "
        f"{sys.executable} works."
    )


def _connect_or_start(
    directory: BrokerDirectory, spec: ServerSpec, cancelled_within: CancelledWithin
) -> socket.socket:
    """Connect to the broker of a directory, which is started if there is none."""
    lock = directory.try_lock()
    while lock is None:
        if cancelled_within(_RETRY_SECONDS):
            raise StartCancelled(f"The start of the server for {spec.model!r} was cancelled.")
        lock = directory.try_lock()
    try:
        return _connected(directory) or _started(directory, spec)
    except BaseException:
        directory.remove()
        raise
    finally:
        unlock(lock)


def _lease(
    channel: socket.socket, directory: BrokerDirectory, log: ServerLog, keep_alive: float
) -> SharedProcess:
    try:
        return SharedProcess(channel, directory, log, keep_alive)
    except BaseException:
        channel.close()
        raise


def _connected(directory: BrokerDirectory) -> socket.socket | None:
    """Connect to the broker of a directory, None if there is none."""
    channel = socket.socket(socket.AF_UNIX)
    # Whatever socket.setdefaulttimeout says.
    channel.settimeout(None)
    try:
        channel.connect(str(directory.broker))
    except (ConnectionRefusedError, FileNotFoundError):
        channel.close()
        return None
    except BaseException:
        channel.close()
        raise
    return channel


def _started(directory: BrokerDirectory, spec: ServerSpec) -> socket.socket:
    """Start a broker and connect to it."""
    config = _broker_config(spec)
    directory.broker.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory.broker))
        listener.listen(128)
        _run_broker(listener, directory.path, config, spec.environment)
    channel = _connected(directory)
    if channel is None:
        raise EOFError
    return channel


def _broker_config(spec: ServerSpec) -> BrokerConfig:
    address = choose_bind_address(spec.options, spec.socket)
    endpoint, grace = address.endpoint, spec.grace
    return BrokerConfig(
        spec.command(endpoint), endpoint.url, endpoint.socket, address.directory, grace
    )


def _run_broker(
    listener: socket.socket, directory: Path, config: BrokerConfig, environ: Environment
) -> None:
    """Start a broker, which outlives this process.

    Raises:
        MlxcelServerError: The system cannot run it.
    """
    root = str(Path(__file__).parents[2])
    program = (
        f"import sys; sys.path.append(sys.argv[1]); from {broker.__name__} import main; main()"
    )
    arguments = [root, str(directory), config.to_argument()]
    try:
        with spawning:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program, *arguments],
                stdin=listener.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environ(),
                start_new_session=True,
            )
        # The broker itself is a child of this process, which ends at once.
        process.wait()
        return
    except OSError as error:
        reason = error.strerror
    # Raised out here, since the frames of the OSError would hold the environment.
    raise not_run(sys.executable, reason)
