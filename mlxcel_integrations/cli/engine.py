"""Which engine the commands use: what is named, else the embedded one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ..endpoint import Mode, resolve_mode
from ..supervisor.binary import EMBEDDED, Executable

__all__ = ["Choice", "choose", "describe"]

_VARIABLES = ("MLXCEL_BASE_URL", "MLXCEL_SOCKET", "MLXCEL_MODEL")
"""What names an engine, the strongest first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to start a server for, or a running server.

    Attributes:
        mode: The one or the other.
        reason: Why it was chosen.
    """

    mode: Mode
    reason: str


def choose(
    model: str | None = None,
    base_url: str | None = None,
    socket: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Choice:
    """Choose what the options name, else what the environment names, else the embedded engine.

    Raises:
        MlxcelError: What is named cannot be an address.
    """
    options = {"--model": model, "--base-url": base_url, "--socket": socket}
    named = [name for name, value in options.items() if value is not None]
    named += [name for name in _VARIABLES if environ.get(name)]
    if not named:
        return Choice(Mode(model="embedded"), f"none of {', '.join(_VARIABLES)} is set")
    return Choice(resolve_mode(model, base_url, socket, environ), f"{named[0]} names it")


def describe(executable: Executable) -> str:
    """Tell which program serves a model, and why this one."""
    where = "" if executable.dialect is EMBEDDED else f" at {executable.command[0]}"
    return f"{executable.dialect.name}{where} ({executable.reason})"
