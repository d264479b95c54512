"""Output of the commands: colour and a live line in a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from ..errors import MlxcelError

__all__ = ["Terminal", "is_self_explanatory", "on_one_line", "visible"]

_STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb]"
)
"""Characters that control a terminal, change the order of others, are never seen, or cannot be
encoded; zero-width characters that scripts and emoji need are not among them."""

_LIVE_SECONDS, _LOG_SECONDS = 0.1, 10.0
_LABEL_WIDTH = 10


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

    def line(self, text: str = "") -> None:
        """Print a line."""
        self.piece(text + "\n")

    def fact(self, name: str, text: str) -> None:
        """Print a line with a name in its first column; further lines are indented."""
        self.label(name)
        self.line(text.replace("\n", "\n" + " " * _LABEL_WIDTH))

    def label(self, name: str) -> None:
        """Print the first column of a line as ``fact`` does."""
        self.piece(f"{name:<{_LABEL_WIDTH}}", "cyan")

    def piece(self, text: str, style: str | None = None) -> None:
        """Print a piece of untrusted text, in a style if this is a terminal."""
        self._write(self._styled(visible(text), style))

    def live(self, text: str = "") -> None:
        """Show a line that the next one replaces, if this is a terminal; without a text, remove it.

        Remove it before anything else is printed.
        """
        if self._is_live:
            # A line that wraps cannot be overwritten.
            text = visible(text)[: shutil.get_terminal_size().columns - 1]
            self._write(f"\r\x1b[K{self._styled(text, 'dim')}")

    @contextlib.contextmanager
    def waiting(self, task: str, detail: Callable[[], str]) -> Iterator[None]:
        """Show that a task is running, and for how long.

        Args:
            task: Name of the task.
            detail: Returns its progress.
        """
        ended = threading.Event()
        thread = threading.Thread(
            target=self._show_progress, args=(task, detail, ended), daemon=True
        )
        if not self._is_live:
            self.line(f"{task} ...")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.live()

    def _show_progress(self, task: str, detail: Callable[[], str], ended: threading.Event) -> None:
        begin = time.monotonic()
        while not ended.wait(_LIVE_SECONDS if self._is_live else _LOG_SECONDS):
            progress = visible(detail()).replace("\n", " ")
            text = f"{task} ... {time.monotonic() - begin:.1f} s  {progress}".rstrip()
            if self._is_live:
                self.live(text)
            else:
                self.line(text)

    def _styled(self, text: str, style: str | None) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if text and style and self._is_live else text

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def is_self_explanatory(error: Exception) -> bool:
    """Return whether the message of an error is enough for the user, without a traceback."""
    if isinstance(error, MlxcelError):
        return True
    import openai

    return isinstance(error, openai.OpenAIError)


def visible(text: str) -> str:
    """Return a text with its control characters made readable, so that no terminal obeys them.

    Everything that the commands print goes through here: names of files, documents, answers, and
    output of servers may hold codes that move the cursor, or change what was printed before.
    """
    return _UNPRINTABLE.sub(_escaped, text.replace("\r\n", "\n"))


def on_one_line(name: str) -> str:
    """Return a name with its line breaks made visible, too, so that it cannot forge a line."""
    return visible(name).replace("\n", r"\x0a")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
