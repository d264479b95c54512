"""Engine of the commands: choose a running server or a model, and start it if need be."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..embedded import BUILT_IN_MODEL
from ..modes import Mode, resolve_mode
from ..supervisor.binary import EMBEDDED, Executable
from ..supervisor.log_lines import read_progress
from ..supervisor.managed_server import ManagedServer
from ..transport.endpoint import Endpoint
from .parser import UsageError
from .terminal import Terminal

__all__ = [
    "Choice",
    "choose_engine",
    "describe_executable",
    "kept_options",
    "running_engine",
    "start_server",
]

_VARIABLES = ("MLXCEL_BASE_URL", "MLXCEL_SOCKET", "MLXCEL_MODEL")
"""Environment variables that choose an engine, in order of precedence."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to start a server for, or a running server.

    Attributes:
        mode: The model, or the endpoint of the server.
        reason: Why it was chosen.
    """

    mode: Mode
    reason: str


def choose_engine(
    model: str | None = None,
    base_url: str | None = None,
    socket: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Choice:
    """Choose by the options, else by the environment, else the embedded engine.

    Raises:
        MlxcelError: The address is not valid.
    """
    options = {"--model": model, "--base-url": base_url, "--socket": socket}
    named = [name for name, value in options.items() if value is not None]
    named += [name for name in _VARIABLES if environ.get(name)]
    if not named:
        return Choice(Mode(model=BUILT_IN_MODEL), f"none of {', '.join(_VARIABLES)} is set")
    return Choice(resolve_mode(model, base_url, socket, environ), f"from {named[0]}")


def describe_executable(executable: Executable) -> str:
    """Describe the program that serves a model, and why it was chosen."""
    where = "" if executable.dialect is EMBEDDED else f" at {executable.command[0]}"
    return f"{executable.dialect.name}{where} ({executable.reason})"


@contextlib.contextmanager
def running_engine(
    terminal: Terminal,
    choice: Choice,
    meanwhile: Callable[[], object],
    keep: float | None = None,
    **options: Any,
) -> Iterator[Endpoint]:
    """Print which engine is used and why; start a server if need be, and stop it unless it is kept.

    Args:
        terminal: Where to print.
        choice: The engine.
        meanwhile: Called in a thread while a server starts.
        keep: Seconds that a server that is started stays for the next command; None to stop it.
        options: Fields of ``ServerOptions`` for a server that is started.

    Raises:
        MlxcelError: The server did not start.
        UsageError: Options were given for a server that runs already.
    """
    if choice.mode.endpoint is not None:
        given = options if keep is None else {**options, "keep": keep}
        if given:
            *others, last = (f"--{name.replace('_', '-')}" for name in given)
            names = f"{', '.join(others)} and {last}" if others else last
            raise UsageError(
                f"{names} {'is' if len(given) == 1 else 'are'} only for a server that this command "
                f"starts. Pass --model as well, or drop {names} to use the server at "
                f"{choice.mode.endpoint}."
            )
        terminal.fact("Engine", f"the running server at {choice.mode.endpoint} ({choice.reason})")
        yield choice.mode.endpoint
        return
    options |= kept_options(keep)
    server = ManagedServer(str(choice.mode.model), progress=False, **options)
    terminal.fact("Engine", describe_executable(server.executable))
    terminal.fact("Model", f"{server.model} ({choice.reason})")
    with contextlib.closing(server):
        threading.Thread(target=meanwhile, name="mlxcel-import").start()
        start_server(terminal, server)
        yield server.endpoint


def kept_options(keep: float | None) -> dict[str, Any]:
    """Return the options of a server that stays ``keep`` seconds for the next command."""
    return {} if keep is None else {"share": "user", "keep_alive": keep}


def start_server(terminal: Terminal, server: ManagedServer) -> None:
    """Start a server, and print its progress and its address."""
    begin = time.monotonic()
    with terminal.waiting("Starting the server", lambda: _progress_text(server)):
        server.start()
    terminal.fact("Server", f"ready after {time.monotonic() - begin:.1f} s at {server.base_url}")


def _progress_text(server: ManagedServer) -> str:
    progress = read_progress(server.log_tail)
    return progress.text if progress is not None else ""
