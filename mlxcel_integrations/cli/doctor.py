"""``mlxcel-integrations doctor``: check this machine, and say how to fix what does not work."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator

from .. import __version__
from ..errors import MlxcelError
from .flags import in_flags
from .installation import Finding, check_packages, check_python
from .terminal import Terminal, on_one_line

__all__ = ["run_doctor"]

_COLOURS = {"ok": "green", "missing": "yellow", "problem": "red"}


def run_doctor(
    terminal: Terminal,
    model: str | None = None,
    base_url: str | None = None,
    socket: str | None = None,
) -> int:
    """Check whether a chat would work with the engine given, or else with the demo's.

    Args:
        terminal: Where to print.
        model: A model to start a server for.
        base_url: Address of a running server.
        socket: Unix socket of a running server.

    Returns:
        The exit status: 1 if a chat would not work.
    """
    terminal.piece(f"mlxcel-integrations {__version__}", "bold")
    terminal.line()
    problems = 0
    for finding in _findings(model, base_url, socket):
        problems += finding.state == "problem"
        terminal.piece(f"{finding.state:<8}", _COLOURS[finding.state])
        terminal.line(f" {finding.subject:<24} {on_one_line(finding.text)}")
        if finding.advice:
            terminal.line(textwrap.indent(finding.advice, " " * 9))
    terminal.line()
    if problems:
        terminal.line("Not ready to chat: see the problems above.")
        return 1
    terminal.line("Ready to chat.")
    return 0


def _findings(model: str | None, base_url: str | None, socket: str | None) -> Iterator[Finding]:
    installed = [check_python(), *check_packages()]
    yield from installed
    if any(finding.state == "problem" for finding in installed):
        # The next checks import these packages.
        return
    for finding in _findings_about_engine(model, base_url, socket):
        yield dataclasses.replace(finding, advice=in_flags(finding.advice, "doctor"))


def _findings_about_engine(
    model: str | None, base_url: str | None, socket: str | None
) -> Iterator[Finding]:
    from .checks import check_managed_server, check_running_server
    from .engine import choose_engine

    try:
        choice = choose_engine(model, base_url, socket)
    except MlxcelError as error:
        yield Finding("problem", "engine", "not usable", str(error))
        return
    if choice.mode.endpoint is not None:
        yield Finding("ok", "engine", f"a running server ({choice.reason})")
        yield from check_running_server(choice.mode.endpoint)
    else:
        yield Finding("ok", "engine", f"a new server ({choice.reason})")
        yield from check_managed_server(str(choice.mode.model))
