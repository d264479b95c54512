"""``ManagedServer``: a server process from its start to its end."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..endpoint import Endpoint, absolute_model
from ..errors import MlxcelServerError, MlxcelTimeoutError
from ..options import ServerOptions, server_options
from .binary import Executable, find
from .command import arguments
from .place import choose
from .readiness import Ended, NotAServer, Observation, TooLate, until_ready
from .running import Running

__all__ = ["ManagedServer"]


class ManagedServer:
    """A model server of our own, in a process of its own.

    It listens on a Unix socket in a directory that only this user can enter, unless ``host`` or
    ``port`` ask for TCP. It ends with ``close``, with the ``with`` block, when nobody refers to
    this object any more, and with this program, in whatever way that ends.

    Args:
        model: Repository id or directory for mlxcel, a ``.gguf`` file, or ``"embedded"``.
        socket: Path of the socket to listen on; it must end in ``.sock``.
        api_key: Key that the server asks for; reaches it by its environment only.
        options: Fields of ``ServerOptions``.

    Raises:
        MlxcelError: An option is unknown, or has a value that it cannot have.

    Examples:
        >>> from mlxcel_integrations import LLM, ManagedServer
        >>> with ManagedServer("embedded") as server:
        ...     llm = LLM(socket=server.socket)
        ...     print(llm.models())
        ['embedded']
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        socket: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        self.model = absolute_model(model)
        self.options: ServerOptions = server_options(options)
        self._socket = str(Path(socket).expanduser().absolute()) if socket is not None else None
        self._api_key = api_key
        self._lock = threading.Lock()
        self._launching = threading.Lock()
        self._start: _Start | None = None
        self._running: Running | None = None
        self._at_end = weakref.finalize(self, lambda: None)

    @property
    def model_name(self) -> str:
        """The name under which it serves the model."""
        return self.options.alias or self.model

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens.

        Raises:
            MlxcelServerError: It has not been started.
        """
        if self._running is None:
            raise MlxcelServerError(
                f"The server for {self.model!r} has not been started: call start() first, or use a "
                "with block."
            )
        return self._running.place.endpoint

    @property
    def base_url(self) -> str:
        """Its address: ``http://host:port`` or ``unix:///path``."""
        return str(self.endpoint)

    @property
    def socket(self) -> str | None:
        """Path of its socket, None if it listens on TCP."""
        return self.endpoint.socket

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it has not been started."""
        return self._running.pid if self._running is not None else None

    @property
    def log_tail(self) -> str:
        """The last lines that the server printed."""
        return self._running.log.tail if self._running is not None else ""

    @property
    def executable(self) -> Executable:
        """The program that serves the model, and why this one.

        Raises:
            MlxcelError: There is none on this machine.
        """
        binary = self.options.binary
        return find(self.model, str(binary.absolute()) if isinstance(binary, Path) else binary)

    def start(self) -> Self:
        """Start the server, or wait for a start that is under way; nothing if it runs.

        Raises:
            MlxcelServerError: It did not start; the tail of what it printed is in the message.
            MlxcelTimeoutError: It was not ready within ``startup_timeout`` seconds.
        """
        if self._serves:
            return self
        start = self._join_start()
        try:
            start.future.result()
        except BaseException:
            self._leave(start)
            # An interrupt must not leave a half-started server behind.
            wait([start.future], timeout=self.options.shutdown_grace + 1)
            raise
        return self

    async def astart(self) -> Self:
        """Start the server without blocking the event loop.

        Raises:
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready within ``startup_timeout`` seconds.
        """
        if self._serves:
            return self
        start = self._join_start()
        try:
            await asyncio.wrap_future(start.future)
        except BaseException:
            self._leave(start)
            raise
        return self

    def poll(self) -> int | None:
        """Return the exit status of the server, None while it runs or before it has started."""
        return self._running.poll() if self._running is not None else None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the server to end and return its exit status.

        Args:
            timeout: Longest time to wait, in seconds.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        return self._running.wait(timeout) if self._running is not None else None

    def end(self) -> str | None:
        """Tell in words how the server ended; None while it runs or before it has started."""
        running = self._running
        if running is None or running.poll() is None:
            return None
        return f"the server ended with {running.cause}"

    def close(self) -> None:
        """Stop the server: SIGTERM, and SIGKILL after ``shutdown_grace`` seconds."""
        with self._lock:
            start, running = self._start, self._running
        if start is not None:
            start.abort.set()
            wait([start.future], timeout=self.options.shutdown_grace + 1)
            running = self._running
        if running is not None:
            running.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ManagedServer({self.model!r}, pid={self.pid})"

    @property
    def _serves(self) -> bool:
        running = self._running
        return running is not None and running.ready and running.poll() is None

    def _join_start(self) -> _Start:
        """Return the start that is under way, a new one if there is none."""
        with self._lock:
            start = self._start
            if start is None or start.abort.is_set():
                start = _Start()
                threading.Thread(
                    target=self._run_start, args=(start,), name="mlxcel-start", daemon=True
                ).start()
                self._start = start
            start.waiters += 1
            return start

    def _leave(self, start: _Start) -> None:
        """Stop waiting for a start; the last one to leave ends it."""
        with self._lock:
            start.waiters -= 1
            if start.waiters == 0:
                start.abort.set()

    def _run_start(self, start: _Start) -> None:
        error: BaseException | None = None
        try:
            # A start that was given up is still clearing away when the next one begins.
            with self._launching:
                self._launch(start.abort)
        except BaseException as caught:  # noqa: BLE001  raised to whoever waits
            error = caught
        with self._lock:
            if self._start is start:
                self._start = None
        if error is None:
            start.future.set_result(None)
        else:
            start.future.set_exception(error)

    def _launch(self, abort: threading.Event) -> None:
        if abort.is_set():
            raise self._given_up()
        if self._serves:
            # Another start has ended since somebody found that there was no server.
            return
        if self._running is not None:
            self._running.stop()
        executable = self.executable
        place = choose(self.options, self._socket)
        try:
            command = arguments(executable, self.model, place.endpoint, self.options)
            running = Running(command, place, self._api_key, self.options.shutdown_grace)
        except BaseException:
            place.clear()
            raise
        try:
            self._running = running
            self._at_end.detach()
            self._at_end = weakref.finalize(self, running.stop)
            self._until_ready(running, abort)
        except BaseException:
            running.stop()
            raise

    def _until_ready(self, running: Running, abort: threading.Event) -> None:
        flow = until_ready(self.options.startup_timeout, time.monotonic)
        try:
            pause = next(flow)
            while not abort.wait(pause):
                pause = flow.send(Observation(running.poll(), running.health()))
        except StopIteration:
            running.ready = True
            return
        except Ended:
            running.log.join(0.5)
            raise self._failed(running, f"ended with {running.cause}") from None
        except NotAServer:
            raise self._failed(running, "is no model server: it knows no /health") from None
        except TooLate:
            raise MlxcelTimeoutError(
                f"The server for {self.model!r} was not ready within "
                f"{self.options.startup_timeout:g} s. Raise startup_timeout= if it is still "
                "loading or downloading:",
                stderr=running.log.tail,
            ) from None
        raise self._given_up()

    def _failed(self, running: Running, what: str) -> MlxcelServerError:
        tail = running.log.tail
        return MlxcelServerError(
            f"The server for {self.model!r} {what} before it was ready. "
            + ("It said:" if tail else "It said nothing."),
            stderr=tail,
            returncode=running.poll(),
        )

    def _given_up(self) -> MlxcelServerError:
        return MlxcelServerError(f"The start of the server for {self.model!r} was given up.")


class _Start:
    """A start that is under way, and how many wait for it."""

    def __init__(self) -> None:
        self.future: Future[None] = Future()
        # A waiter that is cancelled must not cancel the start for the others.
        self.future.set_running_or_notify_cancel()
        self.abort = threading.Event()
        self.waiters = 0
