"""Launch a server and wait until it is ready."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# httpx imports it with its first request, and a ready server would have to wait for that.
import httpcore  # noqa: F401
import httpx

from ..embedded import display_name
from ..errors import MlxcelError, MlxcelServerError, MlxcelTimeoutError
from ..forks import between_forks
from ..protocol.timeouts import Deadline, Timeouts
from ..transport.endpoint import Endpoint
from ..transport.sockets import close_leaked_socket
from ..transport.sync_pool import SyncPool
from .bind_address import choose_bind_address, port_was_taken
from .invocation import Invocation
from .kept_prompts import restore_prompts
from .local_models import LocalModel, list_local_models
from .log_lines import is_model_missing, read_progress
from .logs import ServerLog
from .model_names import suggestion
from .owned_process import OwnedProcess
from .peer_identity import ProcessTree, is_ours
from .progress_bar import ProgressBar
from .prompt_store import PromptStore
from .readiness import (
    Ended,
    LoadFailed,
    NotAServer,
    Observation,
    Stalled,
    TooLate,
    until_ready,
)
from .server_process import ServerProcess
from .server_spec import ServerSpec
from .single_flight import CancelledWithin, StartCancelled, StartLimit
from .slots import Slots

__all__ = ["Launcher", "health_status"]

start_logger = logging.getLogger("mlxcel.client")

_PORTS_TRIED = 3
_END_SECONDS = 1.0
"""Longest wait for the report that a server has ended."""

_HEALTH_SECONDS = 1.0

_RESTORE_SECONDS = 30.0
"""Longest time to restore kept prompts."""

_MIN_LIMIT_SECONDS = 5.0
"""Least time for a guard or broker to answer: on a busy machine, even a healthy one is slow."""

_HEALTH_BYTES = 64 * 1024


class _PortTaken(Exception):
    """Another program took the port after it was chosen and before the server bound it."""


class Launcher:
    """One start of a server.

    Args:
        spec: The server.
        spawned: Called with each process and its address, before it is ready.
        cancelled_within: Sleeps, and returns whether the start was cancelled meanwhile.
    """

    def __init__(
        self,
        spec: ServerSpec,
        spawned: Callable[[ServerProcess, Endpoint], None],
        cancelled_within: CancelledWithin,
    ) -> None:
        self._spec = spec
        self._invocation = Invocation(spec)
        self._spawned = spawned
        self._cancelled_within = cancelled_within

    def run(self) -> None:
        """Start the server and wait until it is ready.

        Raises:
            MlxcelError: Its program was not found, or its address cannot be used.
            MlxcelServerError: It did not start.
            MlxcelTimeoutError: It was not ready in time.
            StartCancelled: Nobody waits for it any more.
        """
        _check_python()
        store = self._invocation.prompt_store()
        name, began = display_name(self._spec.model), time.monotonic()
        start_logger.info("Starting %s.", name)
        for ports_left in reversed(range(_PORTS_TRIED)):
            process, endpoint = self._spawn(store)
            try:
                self._spawned(process, endpoint)
                self._wait_until_ready(process, endpoint)
                self._check_identity(process, endpoint)
                self._restore_prompts(endpoint, store)
                process.mark_ready()
                start_logger.info("%s is ready after %.1f s.", name, time.monotonic() - began)
                return
            except _PortTaken:
                process.stop()
                if not ports_left:
                    raise self._start_error(
                        process, "found no free port in three attempts."
                    ) from None
            except BaseException:
                process.stop()
                raise

    def _spawn(self, store: PromptStore | None) -> tuple[ServerProcess, Endpoint]:
        spec, invocation, log = self._spec, self._invocation, ServerLog(self._spec.api_key)
        seconds = max(spec.options.startup_timeout, _MIN_LIMIT_SECONDS)
        limit = StartLimit(spec.model, seconds, self._cancelled_within)
        if spec.options.share == "user":
            # Not imported for other servers, which need no broker.
            with between_forks:
                from .shared_start import join_shared

            shared = join_shared(invocation, store, log, limit)
            return shared, Endpoint(shared.url, shared.path, here=True)
        address = choose_bind_address(spec.options, spec.socket)
        owned = OwnedProcess(
            invocation.command(address.endpoint, store),
            invocation.environment,
            address.endpoint.socket,
            address.directory,
            spec.grace,
            log,
            limit,
            invocation.before_stop(address.endpoint, store),
        )
        return owned, address.endpoint

    def _wait_until_ready(self, process: ServerProcess, endpoint: Endpoint) -> None:
        options = self._spec.options
        try:
            self._watch(process, endpoint)
        except Ended:
            process.log.join(0.5)
            if self._spec.takes_free_port and port_was_taken(process.log.tail):
                raise _PortTaken from None
            raise self._start_error(
                process,
                f"ended with {process.cause} before it was ready.{self._suggestion(process)}",
            ) from None
        except NotAServer:
            raise self._start_error(
                process, "is not a model server: it has no /health route."
            ) from None
        except LoadFailed as failed:
            raise self._start_error(
                process,
                f"cannot load the model ({failed}). Check that its files are complete and in a "
                "format that this server supports.",
            ) from None
        except Stalled:
            raise self._timeout_error(
                process,
                f"was silent for {options.stall_timeout:g} s before it was ready. Raise "
                "stall_timeout= if it is still downloading a large file",
            ) from None
        except TooLate as late:
            (status,) = late.args
            # A server that is loading answers with 503, or not at all.
            unusual = "" if status in (None, 503) else f" (its /health answered {status})"
            raise self._timeout_error(
                process,
                f"was not ready within {options.startup_timeout:g} s{unusual}. Raise "
                "startup_timeout= if it is still loading",
            ) from None

    def _watch(self, process: ServerProcess, endpoint: Endpoint) -> None:
        """Look at the server until it is ready, and show its progress."""
        options, log = self._spec.options, process.log
        flow = until_ready(options.startup_timeout, options.stall_timeout, time.monotonic)
        bar, began = ProgressBar(options.progress, self._spec.model), time.monotonic()
        last_output_at, text, progress, health = log.last_output_at, "", None, None
        try:
            look = next(flow)
            while not self._cancelled_within(look.after):
                # The log may be long: it is read only if there is something new in it.
                if log.last_output_at != last_output_at or not text:
                    last_output_at, text = log.last_output_at, log.tail
                    progress = read_progress(text)
                bar.show(progress, time.monotonic() - began)
                returncode = process.poll()
                if look.probe:
                    health = health_status(endpoint)
                look = flow.send(Observation(returncode, health, last_output_at, text))
        except StopIteration:
            bar.end(time.monotonic() - began)
            return
        finally:
            bar.close()
        raise StartCancelled(f"The start of the server for {self._spec.model!r} was cancelled.")

    def _check_identity(self, process: ServerProcess, endpoint: Endpoint) -> None:
        """Refuse a server that is not the one that was started, before it gets the key."""
        if is_ours(endpoint, ProcessTree(process.pid, process.guard_pid)):
            return
        # It may have died right after its answer; the report of that comes a moment later.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        ended = process.poll() is not None
        if ended:
            process.log.join(0.5)
        port_taken = ended and port_was_taken(process.log.tail)
        if ended and not port_taken:
            raise self._start_error(process, f"ended with {process.cause} as soon as it was ready.")
        if not port_taken and health_status(endpoint) is None:
            raise self._start_error(process, "stopped answering as soon as it was ready.")
        if self._spec.takes_free_port:
            raise _PortTaken
        raise MlxcelServerError(
            f"Another program answers at {endpoint}, not the server that was started for "
            f"{self._spec.model!r}. It was sent neither the key nor a prompt. Choose another "
            "port= or socket=, or drop model= to use that program."
        )

    def _restore_prompts(self, endpoint: Endpoint, store: PromptStore | None) -> None:
        key = self._spec.api_key
        # A model that was replaced while it was loaded could be either one.
        if store is not None and store == self._invocation.prompt_store():
            slots = Slots(
                endpoint.url, endpoint.socket, key.reveal() if key else "", _RESTORE_SECONDS
            )
            restore_prompts(slots, store)

    def _suggestion(self, process: ServerProcess) -> str:
        """Return a sentence that suggests other names, if the model was not found."""
        model = self._spec.model
        # Not Path.exists(), which raises an error where a directory may not be read.
        if os.path.exists(model) or not is_model_missing(  # noqa: PTH110
            process.log.tail, model
        ):
            return ""
        # Listing the models takes a moment, so this is done only after a start has failed.
        models: list[LocalModel] = []
        with contextlib.suppress(MlxcelError):
            models = list_local_models(self._invocation.executable)
        sentence = suggestion(model, [known.name for known in models])
        return f" {sentence}" if sentence else ""

    def _start_error(self, process: ServerProcess, problem: str) -> MlxcelServerError:
        tail = process.log.tail
        return MlxcelServerError(
            f"The server for {self._spec.model!r} {problem} "
            + ("It said:" if tail else "It said nothing."),
            stderr=tail,
            returncode=process.poll(),
        )

    def _timeout_error(self, process: ServerProcess, problem: str) -> MlxcelTimeoutError:
        tail = process.log.tail
        return MlxcelTimeoutError(
            f"The server for {self._spec.model!r} {problem}{':' if tail else '.'}", stderr=tail
        )


def _check_python() -> None:
    """Check that Python knows its own executable, which runs guards.

    Raises:
        MlxcelServerError: It does not, as when it is embedded in another program.
    """
    if not sys.executable:
        raise MlxcelServerError(
            "sys.executable is empty, as when Python is embedded in another program, so nothing "
            "could look after a server. Set it to the path of a Python of the same version, or use "
            "a running server with base_url=."
        )


def health_status(endpoint: Endpoint) -> int | None:
    """Return the status of ``/health``, None if nobody answers within a second.

    A server that is ready but busy, which says so with 503, counts as 200.
    """
    if endpoint.socket is not None and not Path(endpoint.socket).exists():
        return None
    limits = dict.fromkeys(("connect", "read", "write", "pool"), _HEALTH_SECONDS)
    request = httpx.Request("GET", endpoint.url + "/health", extensions={"timeout": limits})
    # Each of these limits holds for one wait only, and a server may answer byte by byte.
    deadline = Deadline(Timeouts(total_timeout=_HEALTH_SECONDS), time.monotonic())
    with endpoint.transport() as transport:
        try:
            incoming = SyncPool(transport).send(endpoint, request, deadline)
            with contextlib.closing(incoming.closing):
                return 200 if _is_busy(incoming.response) else incoming.response.status_code
        except (httpx.TransportError, TimeoutError) as error:
            close_leaked_socket(error)
            return None


def _is_busy(response: httpx.Response) -> bool:
    if response.status_code != 503:
        return False
    body = next(response.iter_raw(_HEALTH_BYTES), b"")
    return b'"no slot available"' in body
