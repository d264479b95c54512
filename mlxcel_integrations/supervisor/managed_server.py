"""``ManagedServer``: a model server in its own process, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import socket as socket_module
import sys
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Never, NoReturn, Self

from ..errors import MlxcelError, MlxcelServerError, check_program_goes_on
from ..forks import between_forks
from ..protocol.arguments import check_unnamed
from ..secret import Secret, hidden, with_secrets
from ..transport.endpoint import Endpoint
from ..transport.representation import one_line, table
from .restart_policy import WINDOW_SECONDS, RestartPolicy
from .server_spec import ServerSpec
from .single_flight import CancelledWithin, SingleFlight, StartCancelled, Waiter

# What starts a server is imported by its start, which runs in a thread: constructors may be called
# in an event loop, which would wait for an import, and most programs start no server.

if TYPE_CHECKING:
    from ..options.fields import ServerOptions
    from ..protocol.features import TrainedContext
    from .binary import Executable
    from .invocation import Invocation
    from .server_process import ServerProcess

__all__ = ["ManagedServer", "State"]

State = Literal["starting", "ready", "stopping", "stopped", "failed"]


class ManagedServer:
    """A model server that this program runs in a separate process.

    It listens on a Unix socket in a directory that only this user can enter, unless ``host`` or
    ``port`` ask for TCP. It ends with ``close``, with the ``with`` block, when nobody refers to
    this object any more, and with this program, in whatever way that ends. With ``share="user"``,
    all this ends only this program's use of it: the server stays for other processes, and
    ``keep_alive`` seconds more.

    Args:
        model: Repository id or directory for mlxcel, a ``.gguf`` file, or ``"embedded"``.
        socket: Path of the socket to listen on; it must end in ``.sock``.
        api_key: Key that the server asks for, passed only in its environment.
        options: Fields of ``ServerOptions``.

    Raises:
        MlxcelError: An option is unknown, or has a value that it cannot have.

    Examples:
        >>> from mlxcel_integrations import LLM, ManagedServer
        >>> with ManagedServer("embedded") as server:
        ...     llm = LLM(socket=server.socket)
        ...     print(server.state, llm.models())
        ready ['embedded']
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *unnamed: Never,
        socket: str | os.PathLike[str] | None = None,
        api_key: str | Secret | None = None,
        **options: Any,
    ) -> None:
        # A traceback with locals shows arguments, so this one no longer holds the key.
        key, api_key, options = hidden(api_key), None, with_secrets(options)
        check_program_goes_on()
        check_unnamed(unnamed, type(self).__name__)
        self._set_spec(ServerSpec.of(model, socket, key, options))

    @classmethod
    def _from_spec(cls, spec: ServerSpec) -> Self:
        """Return the server of a specification."""
        self = cls.__new__(cls)
        self._set_spec(spec)
        return self

    def _set_spec(self, spec: ServerSpec) -> None:
        self._spec = spec
        self._single_flight = SingleFlight()
        self._restart_policy = RestartPolicy(self.options.restart)
        self._process: ServerProcess | None = None
        self._endpoint: Endpoint | None = None
        self._last_state: State = "stopped"
        self._at_end = weakref.finalize(self, lambda: None)

    @property
    def model(self) -> str:
        """The model that it serves."""
        return self._spec.model

    @property
    def options(self) -> ServerOptions:
        """How it is started."""
        return self._spec.options

    @property
    def model_name(self) -> str:
        """The name under which it serves the model."""
        return self.options.alias or self.model

    @property
    def trained_context(self) -> TrainedContext | None:
        """The context window of its model according to the model's files.

        None if they do not say, or if ``ctx_size`` sets another.
        """
        return self._invocation.trained_context()

    @property
    def reads_only_text(self) -> bool:
        """Whether the files of its model show that it reads nothing but text."""
        return self._invocation.reads_only_text()

    @property
    def state(self) -> State:
        """What it is doing: a server that ended by itself has failed."""
        ended = self.poll() is not None
        if self._last_state == "ready" and ended:
            return "failed"
        if self._last_state == "stopping" and ended:
            return "stopped"
        return self._last_state

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens.

        Raises:
            MlxcelServerError: It has not been started.
        """
        if self._endpoint is None:
            raise MlxcelServerError(
                f"The server for {self.model!r} has not been started: call start() first, or use a "
                "with block."
            )
        return self._endpoint

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
        return self._process.pid if self._process is not None else None

    @property
    def log_tail(self) -> str:
        """The last lines that the server printed."""
        return self._process.log.tail if self._process is not None else ""

    @property
    def executable(self) -> Executable:
        """The program that serves the model, and why this one.

        Raises:
            MlxcelError: There is none on this machine.
        """
        return self._invocation.executable

    def start(self) -> Self:
        """Start the server, or wait for a start that is under way; nothing if it runs.

        Raises:
            MlxcelServerError: It did not start; the tail of what it printed is in the message.
            MlxcelTimeoutError: It was not ready within ``startup_timeout`` seconds.
        """
        if self._serves:
            return self
        self._check_not_exiting()
        waiter = Waiter()
        try:
            self._single_flight.join(waiter, self._start_process)
            waiter.future.result()
        except BaseException:
            # An interrupt must not leave a half-started server behind.
            waiter.leave(self._spec.grace + 1)
            raise
        finally:
            waiter.forget()
        return self

    async def astart(self) -> Self:
        """Start the server without blocking the event loop.

        Raises:
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready within ``startup_timeout`` seconds.
        """
        if self._serves:
            return self
        self._check_not_exiting()
        waiter = Waiter()
        try:
            self._single_flight.join(waiter, self._start_process)
            await asyncio.wrap_future(waiter.future)
        except BaseException:
            waiter.leave()
            raise
        finally:
            waiter.forget()
        return self

    def poll(self) -> int | None:
        """Return the exit status of the server, None while it runs or before it has started."""
        return self._process.poll() if self._process is not None else None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the server to end and return its exit status.

        Args:
            timeout: Longest time to wait, in seconds.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        return self._process.wait(timeout) if self._process is not None else None

    def terminate(self) -> None:
        """Ask the server to end without waiting for it; SIGKILL follows after ``shutdown_grace``.

        It ends for all who share it.
        """
        self._signal(lambda process: process.terminate())

    def kill(self) -> None:
        """Kill the server, even one that hangs, for all who share it."""
        self._signal(lambda process: process.kill())

    def _signal(self, verb: Callable[[ServerProcess], None]) -> None:
        if self._process is not None and self._process.poll() is None:
            self._last_state = "stopping"
            verb(self._process)

    def end(self) -> str | None:
        """Return in words how the server ended; None while it runs or before it has started."""
        process = self._process
        if process is None or process.poll() is None:
            return None
        return f"the server ended with {process.cause}"

    def take_template_failure(self) -> str | None:
        """Return why the chat template failed; None if it did not, or if this was reported.

        mlxcel up to v0.4.2 then answers a prompt in a default format, and says so only in its log.
        """
        return self._process.log.take_template_failure() if self._process is not None else None

    def is_peer(self, connection: socket_module.socket) -> bool:
        """Return whether the server holds the other end of a connection that was just made."""
        process = self._process
        # Once it has ended, its process id may be that of another process.
        if process is None or process.poll() is not None:
            return False
        from .peer_identity import ProcessTree, is_peer

        return is_peer(connection, ProcessTree(process.pid, process.guard_pid))

    def close(self) -> None:
        """Stop the server: SIGTERM, and SIGKILL after ``shutdown_grace`` seconds."""
        self._last_state = "stopping"
        try:
            with self._single_flight.suspended(self._spec.grace + 1):
                if self._process is not None:
                    self._process.stop()
        finally:
            self._last_state = "stopped"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> NoReturn:
        raise MlxcelError(
            "ManagedServer is entered with `with`. In an event loop, await its astart(), and run "
            "its close() with asyncio.to_thread."
        )

    async def __aexit__(self, *error: object) -> None:
        """Let ``async with`` get as far as ``__aenter__``, which says what to use instead."""

    def __repr__(self) -> str:
        # It may be half made, in the traceback of a constructor that has failed.
        if not hasattr(self, "_at_end"):
            return "ManagedServer()"
        options = self.options.model_dump(exclude_defaults=True)
        facts = {"model": self.model, **options, "state": self.state, "pid": self.pid}
        return one_line("ManagedServer", facts)

    def _repr_html_(self) -> str:
        address = str(self._endpoint) if self._endpoint is not None else None
        facts = {"Server": self.state, "Model": self.model, "Address": address, "Process": self.pid}
        return table("ManagedServer", facts)

    @property
    def _invocation(self) -> Invocation:
        with between_forks:
            from .invocation import Invocation
        return Invocation(self._spec)

    @property
    def _serves(self) -> bool:
        process = self._process
        return process is not None and process.serves

    def _start_process(self, cancelled_within: CancelledWithin) -> None:
        """Start the server process unless it runs."""
        if self._serves:
            return
        self._check_not_exiting()
        self._wait_to_restart(cancelled_within)
        try:
            with between_forks:
                from .launcher import Launcher
            if self._process is not None:
                self._process.stop()
            self._last_state = "starting"
            Launcher(self._spec, self._spawned, cancelled_within).run()
            self._last_state = "ready"
        except StartCancelled:
            self._last_state = "stopped"
            raise
        except (OSError, RuntimeError) as error:
            self._last_state = "failed"
            raise MlxcelServerError(
                f"The server for {self.model!r} cannot be started: {error}. Check that this "
                "machine is not out of memory, disk space, processes or open files."
            ) from error
        except BaseException:
            self._last_state = "failed"
            raise

    def _check_not_exiting(self) -> None:
        """Refuse to start a server that nothing would end.

        Called before a thread is started: it would never run, and Python up to 3.11 would hang.

        Raises:
            MlxcelServerError: The program is ending.
        """
        if not self._at_end.alive or sys.is_finalizing():
            raise MlxcelServerError(
                f"The program is ending, so the server for {self.model!r} was not started."
            )

    def _spawned(self, process: ServerProcess, endpoint: Endpoint) -> None:
        self._process, self._endpoint = process, endpoint
        self._at_end.detach()
        self._at_end = weakref.finalize(self, process.begin_stop)

    def _wait_to_restart(self, cancelled_within: CancelledWithin) -> None:
        """Delay the restart of a server that has ended by itself, if it is not the first.

        Raises:
            MlxcelServerError: It has ended too often.
            StartCancelled: Nobody waits for it any more.
        """
        if self._last_state != "ready" or self.poll() is None:
            return
        delay = self._restart_policy.delay()
        if delay is None:
            raise self._ended_too_often()
        if cancelled_within(delay):
            raise StartCancelled(f"The restart of the server for {self.model!r} was cancelled.")

    def _ended_too_often(self) -> MlxcelServerError:
        max_restarts = self._restart_policy.max_restarts
        minutes = WINDOW_SECONDS / 60
        times = (
            f"after {max_restarts} restarts within {minutes:g} minutes"
            if max_restarts
            else "by itself"
        )
        return MlxcelServerError(
            f"The server for {self.model!r} has ended {times}, the last time with "
            f"{self._process.cause if self._process is not None else ''}, and is not started "
            "again (restart=). It said:",
            stderr=self.log_tail,
            returncode=self.poll(),
        )
