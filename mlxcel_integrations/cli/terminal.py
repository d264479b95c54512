"""Output of the commands: colour and a live line in a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from ..errors import MlxcelError

__all__ = ["Terminal", "is_self_explanatory"]

_STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_LIVE_SECONDS, _LOG_SECONDS = 0.1, 10.0


class Terminal:
    """A terminal, or a log without control characters.

    Args:
        stream: Where to print.
        environ: Environment variables; ``NO_COLOR`` and ``TERM=dumb`` make lines plain.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self._is_live = (
            stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        )

    def styled(self, text: str, style: str) -> str:
        """Return a text with a style, which only a terminal has."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._is_live else text

    def line(self, text: str = "") -> None:
        """Print a line."""
        self._write(text + "\n")

    def fact(self, name: str, text: str) -> None:
        """Print a line with a name in its first column."""
        self.label(name)
        self.piece(text + "\n")

    def label(self, name: str) -> None:
        """Print the first column of such a line."""
        self._write(self.styled(f"{name:<10}", "cyan"))

    def piece(self, text: str) -> None:
        """Print a piece of untrusted text, without its control characters."""
        self._write(_printable(text))

    @contextlib.contextmanager
    def waiting(self, task: str, detail: Callable[[], str]) -> Iterator[None]:
        """Show that a task is running, and for how long.

        Args:
            task: Name of the task.
            detail: Returns its progress.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._show, args=(task, detail, ended), daemon=True)
        if not self._is_live:
            self.line(f"{task} ...")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if self._is_live:
                self._write("\r\x1b[K")

    def _show(self, task: str, detail: Callable[[], str], ended: threading.Event) -> None:
        begin = time.monotonic()
        while not ended.wait(_LIVE_SECONDS if self._is_live else _LOG_SECONDS):
            text = f"{task} ... {time.monotonic() - begin:.1f} s  {_printable(detail())}".rstrip()
            if self._is_live:
                # A line that wraps cannot be overwritten.
                text = text[: shutil.get_terminal_size().columns - 1]
                self._write(f"\r\x1b[K{self.styled(text, 'dim')}")
            else:
                self.line(text)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def is_self_explanatory(error: Exception) -> bool:
    """Tell whether the message of an error is enough for the user, without a traceback."""
    if isinstance(error, MlxcelError):
        return True
    import openai

    return isinstance(error, openai.OpenAIError)


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable() or c == "\n")
