"""What a server prints: drained whatever it holds, logged, and its tail kept."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque

__all__ = ["LogPump"]

logger = logging.getLogger("mlxcel.server")

_MAX_LINE_BYTES = 8 * 1024
_TAIL_LINES = 200
_TAIL_BYTES = 64 * 1024


class LogPump:
    """Read a pipe to its end in a thread, so that the server never blocks on a full one.

    Lines go to the logger ``mlxcel.server`` at level INFO.

    Args:
        pipe: File descriptor to read; closed at its end.
        secret: Replaced by stars wherever it occurs.
    """

    def __init__(self, pipe: int, secret: str | None) -> None:
        self._pipe = pipe
        self._secret = secret.encode() if secret else None
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="mlxcel-log", daemon=True)
        self._thread.start()

    @property
    def tail(self) -> str:
        """The last lines, 64 KB at most."""
        with self._lock:
            return "\n".join(self._lines)

    @property
    def last_line(self) -> str:
        """The last line that is not empty, or an empty text."""
        with self._lock:
            return next((line for line in reversed(self._lines) if line.strip()), "")

    def join(self, timeout: float) -> None:
        """Wait for the end of the pipe, which a grandchild of the server may keep open."""
        self._thread.join(timeout)

    def _run(self) -> None:
        rest = b""
        while piece := os.read(self._pipe, 65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take(line)
            # Of a line that never ends, only the last part can be kept. Twice of what is shown,
            # so that half a key at the cut is not shown.
            rest = rest[-2 * _MAX_LINE_BYTES :]
        if rest:
            self._take(rest)
        os.close(self._pipe)

    def _take(self, line: bytes) -> None:
        if self._secret:
            line = line.replace(self._secret, b"***")
        # An error message may follow a progress bar in the same line: the end matters most.
        text = line[-_MAX_LINE_BYTES:].decode("utf-8", "replace").rstrip("\r")
        with self._lock:
            if len(self._lines) == _TAIL_LINES:
                self._bytes -= len(self._lines.popleft())
            self._lines.append(text)
            self._bytes += len(text)
            while self._bytes > _TAIL_BYTES:
                self._bytes -= len(self._lines.popleft())
        # A handler of the user must not stop the drain.
        with contextlib.suppress(Exception):
            logger.info("%s", text)
