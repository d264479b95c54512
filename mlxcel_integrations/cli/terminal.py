"""Where a command prints: colour and one live line in a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

__all__ = ["Terminal"]

_STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_LIVE_SECONDS, _LOG_SECONDS = 0.1, 10.0


class Terminal:
    """A terminal, or a log that holds no control characters.

    Args:
        stream: Where to print.
        environ: Where ``NO_COLOR`` and ``TERM=dumb`` ask for plain lines.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self._is_live = (
            stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        )

    def styled(self, text: str, style: str) -> str:
        """Return a text in a style, or as it is where there are none."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._is_live else text

    def line(self, text: str = "") -> None:
        """Print a line."""
        self._write(text + "\n")

    def fact(self, name: str, text: str) -> None:
        """Print a line that begins with a name, in a column of its own."""
        self.label(name)
        self.piece(text + "\n")

    def label(self, name: str) -> None:
        """Print the beginning of such a line."""
        self._write(self.styled(f"{name:<10}", "cyan"))

    def piece(self, text: str) -> None:
        """Print a piece of a text that others wrote, without what could steer the terminal."""
        self._write(_harmless(text))

    @contextlib.contextmanager
    def waiting(self, what: str, detail: Callable[[], str]) -> Iterator[None]:
        """Show that something goes on, and for how long.

        Args:
            what: What goes on.
            detail: Returns the latest news of it.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._show, args=(what, detail, ended), daemon=True)
        if not self._is_live:
            self.line(f"{what} ...")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if self._is_live:
                self._write("\r\x1b[K")

    def _show(self, what: str, detail: Callable[[], str], ended: threading.Event) -> None:
        begin = time.monotonic()
        while not ended.wait(_LIVE_SECONDS if self._is_live else _LOG_SECONDS):
            text = f"{what} ... {time.monotonic() - begin:.1f} s  {_harmless(detail())}".rstrip()
            if self._is_live:
                # A line that wraps could not be rewritten.
                text = text[: shutil.get_terminal_size().columns - 1]
                self._write(f"\r\x1b[K{self.styled(text, 'dim')}")
            else:
                self.line(text)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _harmless(text: str) -> str:
    return "".join(c for c in text if c.isprintable() or c == "\n")
