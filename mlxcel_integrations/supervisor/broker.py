"""Broker: a small program that keeps one server for all processes of a user.

A guard ends a server with its owner. The owner of a shared server is this program. Every process
that uses the server is connected to it: a connection is a lease, and ends with its process at the
latest. The server is stopped ``keep_alive`` seconds after the last lease.

Like the guard it runs on the standard library alone, ``python -I -S``, and never needs the key.
It listens on the socket that is its stdin; ``SharedProcess`` is the other side. To each lease it
writes lines of JSON: first ``{"pid": ..., "url": ..., "socket": ...}`` or ``{"error": ...}``, then
``{"log": ...}`` for the output of the server, and in the end
``{"returncode": ..., "cause": ...}``. It reads the lines ``ready SECONDS``, ``stop`` and ``kill``;
the first comes from a lease that has seen the server ready, and lets it stay for that long after
the last lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import MlxcelServerError
from . import guard
from .broker_directory import BrokerDirectory
from .logs import ServerLog
from .owned_process import OwnedProcess
from .peer_identity import peer_pid
from .single_flight import StartLimit

__all__ = ["READY", "Broker", "BrokerConfig"]

READY = b"ready"

_FIRST_LEASE_SECONDS = 5.0
"""How long a broker waits for its first lease."""

_LOCK_RETRY_SECONDS = 0.05
_LOCK_SECONDS = 2.0
"""How long a broker that is about to end waits for a process that is about to connect."""

_GUARD_SECONDS = 60.0
"""How long a broker waits for its guard to start the server."""

_DRAIN_SECONDS = 1.0
_MAX_UNREAD_BYTES = 256 * 1024
"""Most output that is buffered for a lease that does not read; the rest is dropped."""


class BrokerConfig:
    """The server that a broker keeps.

    Args:
        command: Command line of the server.
        url: Its address.
        path: Its socket, None for TCP.
        directory: Directory to create for it, see ``BindAddress``.
        grace: Time from SIGTERM to SIGKILL, in seconds.
        before_stop: Command line that its guard runs before SIGTERM, within the grace.
    """

    def __init__(
        self,
        command: list[str],
        url: str,
        path: str | None,
        directory: Path | None,
        grace: float,
        before_stop: Sequence[str] = (),
    ) -> None:
        self.command, self.url, self.path = command, url, path
        self.directory, self.grace = directory, grace
        self.before_stop = list(before_stop)

    def to_argument(self) -> str:
        """Return the configuration as one argument of a command line."""
        paths = (self.path or "", self.directory or "")
        lists = [
            [os.fsencode(word).decode("latin-1") for word in words]
            for words in (self.command, self.before_stop, paths)
        ]
        return json.dumps([*lists, self.url, self.grace])

    @classmethod
    def from_argument(cls, text: str) -> BrokerConfig:
        """Return the configuration that ``to_argument`` has written."""
        *lists, url, grace = json.loads(text)
        command, before_stop, (path, directory) = [
            [os.fsdecode(word.encode("latin-1")) for word in words] for words in lists
        ]
        place = Path(directory) if directory else None
        return cls(command, url, path or None, place, grace, before_stop)


class Broker:
    """Grants leases of a server, and stops it when no process has one.

    Args:
        config: The server.
        directory: The directory where processes find the broker.
    """

    def __init__(self, config: BrokerConfig, directory: BrokerDirectory) -> None:
        self._config = config
        self._directory = directory
        self._server: OwnedProcess | None = None
        self._greeting = b""
        self._leases: set[asyncio.StreamWriter] = set()
        self._waits_for_end: list[asyncio.StreamWriter] = []
        self._keep_alive = 0.0
        self._idle_from = time.monotonic() + _FIRST_LEASE_SECONDS
        self._stopping = False
        self._greeted = False
        self._changed = asyncio.Event()
        self._recent = bytearray()

    async def run(self, listener: socket.socket) -> None:
        """Keep the server until it ends, or until nobody has used it for long enough."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        # This locks it for as long as this process runs, so that no sweep removes it.
        guard.make_directory(os.fsencode(self._directory.path))
        self._start()
        service = await asyncio.start_unix_server(self._lease, sock=listener)
        locked = await self._until_unused()
        service.close()
        await self._finish()
        if locked:
            self._directory.remove()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        config, log = self._config, _RelayedLog(loop, self._relay)
        try:
            server = OwnedProcess(
                config.command,
                lambda: os.environ,
                config.path,
                config.directory,
                config.grace,
                log,
                StartLimit(config.url, _GUARD_SECONDS),
                config.before_stop,
            )
        except MlxcelServerError as error:
            self._greeting = _report_line(error=str(error))
            self._stop()
            return
        self._server = server
        # As bytes: other processes may have another locale, and read other characters in them.
        path = config.path and os.fsencode(config.path).decode("latin-1")
        self._greeting = _report_line(
            pid=server.pid,
            guard=server.guard_pid,
            url=config.url,
            socket=path,
            grace=config.grace,
        )
        loop.run_in_executor(None, server.wait).add_done_callback(lambda _: self._stop())

    def _stop(self) -> None:
        self._stopping = True
        self._changed.set()

    async def _lease(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one lease until its process gives it back or dies."""
        self._leases.add(writer)
        self._greeted = True
        self._changed.set()
        try:
            with _cancelled_at_end_of(peer_pid(writer.get_extra_info("socket"))):
                writer.write(self._greeting + _log_line(self._recent))
                async for line in reader:
                    self._follow_order(line)
        except OSError:
            pass  # its process was killed with something unread
        finally:
            self._leases.discard(writer)
            self._idle_from = time.monotonic()
            self._changed.set()
            if self._leases or self._keep_alive:
                writer.close()
            else:
                # The holder of the last lease waits until the server has ended.
                self._waits_for_end.append(writer)

    def _follow_order(self, line: bytes) -> None:
        if line.startswith(READY):
            self._keep_alive = float(line.removeprefix(READY))
        elif self._server is not None:
            if line == guard.STOP:
                self._server.terminate()
            elif line == guard.KILL:
                self._server.kill()

    def _relay(self, piece: bytes) -> None:
        self._recent += piece
        del self._recent[:-_MAX_UNREAD_BYTES]
        line = _log_line(piece)
        for writer in self._leases:
            if writer.transport.get_write_buffer_size() < _MAX_UNREAD_BYTES:
                writer.write(line)

    async def _until_unused(self) -> bool:
        """Wait until the server is no longer needed, and lock others out.

        Returns:
            False if another process keeps the lock, for example because it is suspended.
        """
        give_up = math.inf
        while True:
            left = self._idle_from + self._keep_alive - time.monotonic()
            # An end before the greeting must still reach the process that started the broker.
            if (self._stopping and self._greeted) or (not self._leases and left <= 0):
                if self._lock() is not None:
                    return True
                # Another process is about to connect.
                give_up = min(give_up, time.monotonic() + _LOCK_SECONDS)
                if time.monotonic() >= give_up:
                    return False
                await asyncio.sleep(_LOCK_RETRY_SECONDS)
                continue
            give_up = math.inf
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), None if self._leases else left)

    def _lock(self) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return self._directory.try_lock()
        # The directory was removed, so nobody can find this broker any more.
        return -1

    async def _finish(self) -> None:
        """Stop the server, and report to all leases how it ended."""
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)
            end = _report_line(returncode=self._server.poll(), cause=self._server.cause)
            for writer in (*self._leases, *self._waits_for_end):
                writer.write(end)
        drains = [asyncio.ensure_future(writer.drain()) for writer in self._leases]
        if drains:
            await asyncio.wait(drains, timeout=_DRAIN_SECONDS)


class _RelayedLog(ServerLog):
    """A log that passes each piece of output on to the leases.

    Args:
        loop: The loop in which ``relay`` is called.
        relay: Called with each piece.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, relay: Callable[[bytes], None]) -> None:
        super().__init__(None)
        self._loop, self._relay = loop, relay
        self._waiting = 0
        self._counting = threading.Lock()

    def feed(self, piece: bytes) -> None:
        super().feed(piece)
        with self._counting:
            if self._waiting > _MAX_UNREAD_BYTES:
                return
            self._waiting += len(piece)
        self._loop.call_soon_threadsafe(self._deliver, piece)

    def _deliver(self, piece: bytes) -> None:
        with self._counting:
            self._waiting -= len(piece)
        self._relay(piece)


@contextlib.contextmanager
def _cancelled_at_end_of(pid: int) -> Iterator[None]:
    """Cancel the running task when a process ends.

    Its forked children may hold its connection open for longer.
    """
    handle, task = guard.exit_handle(pid), asyncio.current_task()
    if handle is None or task is None:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, task.cancel)
    try:
        yield
    finally:
        loop.remove_reader(handle)
        guard.close_handle(handle)


def _log_line(output: bytes | bytearray) -> bytes:
    # JSON holds text only, and the output may be any bytes.
    return _report_line(log=output.decode("latin-1"))


def _report_line(**report: Any) -> bytes:
    return json.dumps(report).encode() + b"\n"


def main() -> None:
    """Run the broker that the arguments describe, in a forked child; the parent ends at once.

    The parent writes the process id of the child to its stdout.
    """
    listener = socket.socket(fileno=0)
    # As an orphan, it survives when all descendants of the program that started it are killed.
    child = os.fork()
    if child:
        os.write(1, b"%d" % child)
        os._exit(0)
    os.dup2(2, 1)
    directory, config = sys.argv[2:]
    broker = Broker(BrokerConfig.from_argument(config), BrokerDirectory.at(Path(directory)))
    asyncio.run(broker.run(listener))
    # Without waiting for threads or connections that are still open.
    os._exit(0)
