"""A server that this process shares with others of the same user."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import MlxcelServerError
from . import broker
from .broker import Order
from .broker_directory import BrokerDirectory, unlock
from .logs import ServerLog
from .server_process import Environment, ServerProcess, not_run, spawning, wait_for_end

__all__ = ["SharedProcess", "join"]

_RETRY_SECONDS = 0.01
_ATTEMPTS = 5


class SharedProcess(ServerProcess):
    """A lease of a server that a broker keeps.

    Args:
        channel: A connection to the broker.
        place: Where the broker is found.
        log: Where to collect what the server prints.
        keep_alive: How long the server is to stay after its last lease, in seconds.

    Attributes:
        url: Address of the server.

    Raises:
        MlxcelServerError: The system cannot run it.
        EOFError: The broker was about to end.
    """

    def __init__(
        self, channel: socket.socket, place: BrokerDirectory, log: ServerLog, keep_alive: float
    ) -> None:
        super().__init__(channel, log)
        self._place = place
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
        self.path = greeting["socket"]
        self._watcher.start()

    @property
    def cause(self) -> str:
        """What the server ended with, in words."""
        return self._cause

    def mark_ready(self) -> None:
        """Have the broker keep the server for a while when it is not used any more."""
        super().mark_ready()
        self._say(b"%s %f\n" % (broker.READY, self._keep_alive))

    def _stop(self) -> None:
        """Give the lease back; the server ends when it is the last and nothing is to be kept."""
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
            # Its guard ends the server when the broker is gone.
            wait_for_end(self.pid)
            self._place.remove_if_left()
            self._end(-signal.SIGKILL)


def join(
    place: BrokerDirectory,
    order: Callable[[], Order],
    environ: Environment,
    log: ServerLog,
    keep_alive: float,
    given_up: Callable[[float], bool],
) -> SharedProcess | None:
    """Join the server of a place, which is started if there is none.

    Args:
        place: Where its broker is found.
        order: Tells what to start; only called when there is none.
        environ: Returns the environment of the server.
        log: Where to collect what it prints.
        keep_alive: How long it is to stay after its last lease, in seconds.
        given_up: Waits for so many seconds, and tells whether the start was given up meanwhile.

    Returns:
        The lease, None when it was given up.

    Raises:
        MlxcelServerError: It cannot be started.
    """
    for _ in range(_ATTEMPTS):
        try:
            with place.made():
                lock = place.try_lock()
                while lock is None:
                    if given_up(_RETRY_SECONDS):
                        return None
                    lock = place.try_lock()
                try:
                    channel = _connected(place) or _started(place, order(), environ)
                except BaseException:
                    place.remove()
                    raise
                finally:
                    unlock(lock)
                return _joined(channel, place, log, keep_alive)
        except (EOFError, FileNotFoundError):
            # The broker was about to end, and has removed the directory.
            continue
        except OSError as error:
            raise MlxcelServerError(
                f"{place.path.parent}, where shared servers are found, cannot be used: "
                f"{error.strerror}. Remove it, or set XDG_RUNTIME_DIR to a directory of yours."
            ) from None
    raise MlxcelServerError(
        "The broker of the shared server ended before it had started it. Check that "
        f"{sys.executable} is a Python that runs."
    )


def _joined(
    channel: socket.socket, place: BrokerDirectory, log: ServerLog, keep_alive: float
) -> SharedProcess:
    try:
        return SharedProcess(channel, place, log, keep_alive)
    except BaseException:
        channel.close()
        raise


def _connected(place: BrokerDirectory) -> socket.socket | None:
    """Connect to the broker of a place, None if there is none."""
    channel = socket.socket(socket.AF_UNIX)
    # Whatever socket.setdefaulttimeout says.
    channel.settimeout(None)
    try:
        channel.connect(str(place.broker))
    except (ConnectionRefusedError, FileNotFoundError):
        channel.close()
        return None
    except BaseException:
        channel.close()
        raise
    return channel


def _started(place: BrokerDirectory, order: Order, environ: Environment) -> socket.socket:
    """Start a broker and connect to it."""
    place.clear()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.broker))
        listener.listen(128)
        _run_broker(listener, place.path, order, environ)
    channel = _connected(place)
    if channel is None:
        raise EOFError
    return channel


def _run_broker(
    listener: socket.socket, directory: Path, order: Order, environ: Environment
) -> None:
    """Start a broker, which outlives this process.

    Raises:
        MlxcelServerError: The system cannot run it.
    """
    root = str(Path(__file__).parents[2])
    program = (
        f"import sys; sys.path.append(sys.argv[1]); from {broker.__name__} import main; main()"
    )
    try:
        with spawning:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program, root, str(directory), order.dump()],
                stdin=listener.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environ(),
                start_new_session=True,
            )
        # What goes on is a child of it.
        process.wait()
        return
    except OSError as error:
        reason = error.strerror
    # Not from within, where the error's frames would come along, with the environment.
    raise not_run(sys.executable, reason)
