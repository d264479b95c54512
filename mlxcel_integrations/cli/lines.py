"""Lines that a user types at a prompt, or that come from standard input, one question each."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable

from .terminal import Terminal, is_self_explanatory

__all__ = ["answer_lines"]

_PROMPT = "> "


def answer_lines(log: Terminal, answer: Callable[[str], object]) -> None:
    """Answer each line, until the end of standard input.

    At a prompt, Ctrl-C leaves an answer, and an error is printed, and the next line can be typed.

    Args:
        log: Where to print the prompt and errors.
        answer: Called with each line that is not empty; it may raise ``EOFError`` to end.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    at_prompt = sys.stdin.isatty()
    if at_prompt:
        with contextlib.suppress(ImportError):
            # Lets the user edit lines, and go back to earlier ones.
            import readline  # noqa: F401
    with contextlib.suppress(EOFError):
        while True:
            line = _line(log, at_prompt).strip()
            if not line:
                continue
            try:
                answer(line)
            except KeyboardInterrupt:
                if not at_prompt:
                    raise
                log.line("\n(stopped)")
            except EOFError:
                raise
            except Exception as error:
                if not at_prompt or not is_self_explanatory(error):
                    raise
                log.line(str(error))
            if at_prompt:
                log.line()


def _line(log: Terminal, at_prompt: bool) -> str:
    if at_prompt and sys.stdout.isatty():
        return input(_PROMPT)
    if at_prompt:
        log.piece(_PROMPT)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
