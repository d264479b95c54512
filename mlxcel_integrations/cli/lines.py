"""Lines that a user types at a prompt, or that come from standard input, one question each."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator

from .flags import in_flags
from .terminal import Terminal, is_self_explanatory

__all__ = ["answer_lines", "at_prompt", "read_lines"]

_PROMPT = "> "


def at_prompt() -> bool:
    """Return whether lines are typed at a prompt."""
    return sys.stdin.isatty()


def read_lines(log: Terminal) -> Iterator[str]:
    """Yield each line of standard input that is not blank.

    Args:
        log: Where to print the prompt.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if at_prompt():
        with contextlib.suppress(ImportError):
            # Lets the user edit lines, and go back to earlier ones.
            import readline  # noqa: F401
    with contextlib.suppress(EOFError):
        while True:
            if line := _read_line(log).strip():
                yield line


def answer_lines(
    lines: Iterator[str], log: Terminal, command: str, answer: Callable[[str], object]
) -> None:
    """Answer each line.

    At a prompt, Ctrl-C ends an answer and errors are printed; then the next line can be typed.

    Args:
        lines: The lines.
        log: Where to print errors.
        command: The name of the command, in whose words they are printed.
        answer: Called with each line; it may raise ``EOFError`` to end.
    """
    for line in lines:
        try:
            answer(line)
        except KeyboardInterrupt:
            if not at_prompt():
                raise
            log.line("\n(stopped)")
        except EOFError:
            return
        except Exception as error:
            if not at_prompt() or not is_self_explanatory(error):
                raise
            log.line(in_flags(str(error), command))
        if at_prompt():
            log.line()


def _read_line(log: Terminal) -> str:
    if at_prompt() and sys.stdout.isatty():
        return input(_PROMPT)
    if at_prompt():
        log.piece(_PROMPT)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
