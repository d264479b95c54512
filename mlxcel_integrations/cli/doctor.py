"""``mlxcel-integrations doctor``: what works on this machine, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Iterator

from .. import __version__
from ..errors import MlxcelError
from .installation import Finding, packages, python
from .terminal import Terminal

__all__ = ["doctor"]

_COLOURS = {"ok": "green", "missing": "yellow", "problem": "red"}


def doctor(
    terminal: Terminal,
    model: str | None = None,
    base_url: str | None = None,
    socket: str | None = None,
) -> int:
    """Check whether a chat could run, with the engine that is named or that the demo would use.

    Args:
        terminal: Where to print.
        model: A model to start a server for.
        base_url: Address of a running server.
        socket: Unix socket of a running server.

    Returns:
        The exit status: 1 if a chat could not run.
    """
    terminal.line(terminal.styled(f"mlxcel-integrations {__version__}", "bold"))
    problems = 0
    for finding in _findings(model, base_url, socket):
        problems += finding.state == "problem"
        state = terminal.styled(f"{finding.state:<8}", _COLOURS[finding.state])
        terminal.line(f"{state} {finding.subject:<24} {finding.text}")
        if finding.advice:
            terminal.line(f"{'':8} {finding.advice}")
    terminal.line()
    terminal.line("A chat cannot run: see the problems above." if problems else "A chat can run.")
    return 1 if problems else 0


def _findings(model: str | None, base_url: str | None, socket: str | None) -> Iterator[Finding]:
    installed = [python(), *packages()]
    yield from installed
    if any(finding.state == "problem" for finding in installed):
        # What follows needs them.
        return
    from .checks import managed_server, running_server
    from .engine import choose

    try:
        choice = choose(model, base_url, socket)
    except MlxcelError as error:
        yield Finding("problem", "engine", "none can be chosen", str(error))
        return
    if choice.mode.endpoint is not None:
        yield Finding("ok", "engine", f"a running server ({choice.reason})")
        yield from running_server(choice.mode.endpoint)
    else:
        yield Finding("ok", "engine", f"a server that is started here ({choice.reason})")
        yield from managed_server(str(choice.mode.model))
