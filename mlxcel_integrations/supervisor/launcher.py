"""From what is asked for to a server that is ready."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import MlxcelServerError, MlxcelTimeoutError
from ..options import ServerOptions
from ..secret import Secret
from ..transport.endpoint import Endpoint
from .binary import Executable, find
from .bind_address import choose, port_was_taken
from .command import arguments, environment
from .health import health_status
from .logs import ServerLog
from .peer_identity import answers
from .progress_bar import ProgressBar, read_progress
from .readiness import (
    Ended,
    LoadFailed,
    NotAServer,
    Observation,
    Stalled,
    TooLate,
    until_ready,
)
from .server_process import OwnedProcess, ServerProcess
from .single_flight import Pause, StartCancelled

__all__ = ["Launcher", "ServerSpec"]

_PORTS_TRIED = 3


class _PortTaken(Exception):
    """Another program has taken the port between its choice and the bind."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What server is asked for.

    Attributes:
        model: The model that it serves.
        options: How it is started.
        socket: The socket to listen on, None for one of ours.
        api_key: The key that it asks for.
    """

    model: str
    options: ServerOptions
    socket: str | None = None
    api_key: Secret | None = None

    @property
    def executable(self) -> Executable:
        """The program that serves the model.

        Raises:
            MlxcelError: There is none on this machine.
        """
        binary = self.options.binary
        return find(self.model, str(binary.absolute()) if isinstance(binary, Path) else binary)

    @property
    def has_address(self) -> bool:
        """Whether it is to listen where the user says."""
        return (self.socket, self.options.host, self.options.port) != (None, None, None)

    def import_what_it_needs(self) -> None:
        """Import what not every server needs.

        Not in the thread of a start: a child that is forked in the middle of an import can never
        import the same.
        """
        if self.options.host is not None or self.options.port is not None:
            import psutil  # noqa: F401  to tell whose port it is
        if self.options.share == "user":
            from . import shared_process  # noqa: F401

    def command(self, endpoint: Endpoint) -> list[str]:
        """Return the command line of a server at an address."""
        return arguments(self.executable, self.model, endpoint, self.options)

    def environment(self) -> dict[str, str]:
        """Return its environment."""
        return environment(os.environ, self.api_key)


class Launcher:
    """One start of a server.

    Args:
        wanted: What server.
        spawned: Called with each process, and where it listens, before it is ready.
        given_up: Waits, and tells whether nobody waits for the start any more.
    """

    def __init__(
        self,
        wanted: ServerSpec,
        spawned: Callable[[ServerProcess, Endpoint], None],
        given_up: Pause,
    ) -> None:
        self._wanted = wanted
        self._spawned = spawned
        self._given_up = given_up

    def run(self) -> None:
        """Start the server and wait until it is ready.

        Raises:
            MlxcelError: There is no such server, or no place for it.
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready in time.
            GivenUp: Nobody waits any more.
        """
        for left in reversed(range(_PORTS_TRIED)):
            process, endpoint = self._spawn()
            try:
                self._spawned(process, endpoint)
                self._until_ready(process, endpoint)
                process.mark_ready()
                return
            except _PortTaken:
                process.stop()
                if not left:
                    raise self._failed(process, "found no free port in three attempts.") from None
            except BaseException:
                process.stop()
                raise

    def _spawn(self) -> tuple[ServerProcess, Endpoint]:
        wanted = self._wanted
        log = ServerLog(wanted.api_key)
        if wanted.options.share == "user":
            return self._join(log)
        place = choose(wanted.options, wanted.socket)
        process = OwnedProcess(
            wanted.command(place.endpoint),
            wanted.environment,
            place.endpoint.socket,
            place.directory,
            wanted.options.shutdown_grace,
            log,
        )
        return process, place.endpoint

    def _join(self, log: ServerLog) -> tuple[ServerProcess, Endpoint]:
        # asyncio, which a broker needs, is not imported for other servers.
        from .broker import Order
        from .broker_directory import BrokerDirectory
        from .shared_process import join

        wanted = self._wanted
        rendezvous = BrokerDirectory(_name(wanted))

        def order() -> Order:
            endpoint = Endpoint.parse(None, rendezvous.path / "server.sock")
            if wanted.has_address:
                endpoint = choose(wanted.options, wanted.socket).endpoint
            command, grace = wanted.command(endpoint), wanted.options.shutdown_grace
            return Order(command, endpoint.url, endpoint.socket, grace)

        process = join(
            rendezvous,
            order,
            wanted.environment,
            log,
            wanted.options.keep_alive,
            self._given_up,
        )
        if process is None:
            raise self._gave_up()
        return process, Endpoint(process.url, process.path)

    def _until_ready(self, process: ServerProcess, endpoint: Endpoint) -> None:
        options, log = self._wanted.options, process.log
        flow = until_ready(options.startup_timeout, options.stall_timeout, time.monotonic)
        bar, began = ProgressBar(options.progress), time.monotonic()
        try:
            pause = next(flow)
            heard, text = log.heard, log.tail
            while not self._given_up(pause):
                if log.heard != heard:
                    heard, text = log.heard, log.tail
                bar.show(read_progress(text), time.monotonic() - began)
                seen = Observation(process.poll(), health_status(endpoint), heard, text)
                pause = flow.send(seen)
        except StopIteration:
            return self._check_identity(process, endpoint)
        except Ended:
            log.join(0.5)
            if self._chose_port and port_was_taken(log.tail):
                raise _PortTaken from None
            raise self._failed(
                process, f"ended with {process.cause} before it was ready."
            ) from None
        except NotAServer:
            raise self._failed(process, "is no model server: it knows no /health.") from None
        except LoadFailed as failed:
            raise self._failed(
                process,
                f"cannot load the model ({failed}): check that its files are complete, and of a "
                "kind that this server knows.",
            ) from None
        except Stalled:
            raise self._late(
                process,
                f"was silent for {options.stall_timeout:g} s before it was ready. Raise "
                "stall_timeout= if it is still downloading a large file",
            ) from None
        except TooLate:
            raise self._late(
                process,
                f"was not ready within {options.startup_timeout:g} s. Raise startup_timeout= if "
                "it is still loading",
            ) from None
        finally:
            bar.close()
        raise self._gave_up()

    @property
    def _chose_port(self) -> bool:
        options = self._wanted.options
        return options.host is not None and options.port is None

    def _check_identity(self, process: ServerProcess, endpoint: Endpoint) -> None:
        """Refuse a server that is not the one that was started, before it gets the key."""
        if answers(endpoint, process.pid):
            return
        if self._chose_port:
            raise _PortTaken
        raise MlxcelServerError(
            f"Another program answers at {endpoint}, not the server for {self._wanted.model!r} "
            "that was started for it. It was sent neither the key nor a prompt. Choose another "
            "port= or socket=, or drop model= to use that program."
        )

    def _failed(self, process: ServerProcess, what: str) -> MlxcelServerError:
        tail = process.log.tail
        return MlxcelServerError(
            f"The server for {self._wanted.model!r} {what} "
            + ("It said:" if tail else "It said nothing."),
            stderr=tail,
            returncode=process.poll(),
        )

    def _late(self, process: ServerProcess, what: str) -> MlxcelTimeoutError:
        tail = process.log.tail
        return MlxcelTimeoutError(
            f"The server for {self._wanted.model!r} {what}{':' if tail else '.'}", stderr=tail
        )

    def _gave_up(self) -> StartCancelled:
        return StartCancelled(f"The start of the server for {self._wanted.model!r} was given up.")


def _name(wanted: ServerSpec) -> str:
    """Return what is the same for all who ask for the same server, and tells nothing of its key."""
    options = wanted.options
    words = wanted.command(Endpoint("http://localhost:0"))
    place = [wanted.socket, options.host, options.port]
    text = json.dumps([words, place]).encode()
    key = wanted.api_key.reveal().encode() if wanted.api_key else b""
    return hashlib.blake2b(text, key=hashlib.sha256(key).digest(), digest_size=8).hexdigest()
