"""Output of a server: drained, its tail kept, its lines logged."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time

from ..secret import STARS, Secret, key_prefix_start, redacted
from .log_lines import ESCAPE_SEQUENCE, PROBE_ERROR, TEMPLATE_SIGN, template_failure

__all__ = ["ServerLog"]

logger = logging.getLogger("mlxcel.server")

_READ_BYTES = 64 * 1024
_KEPT_BYTES = 128 * 1024
_TAIL_CHARACTERS = 64 * 1024
_TAIL_LINES = 200
# The part of a line that is shown: its end, since an error may follow a progress bar.
_LINE_BYTES = 8 * 1024
# The part of an endless line that is kept: a key in it is replaced before it is cut to be shown.
_ENDLESS_BYTES = 2 * _LINE_BYTES
_QUEUE_BYTES = 512 * 1024
# Bytes by which a key at the end of a line is recognized: many lines end in fewer of them.
_RECOGNIZED_BYTES = 4

_ESCAPE_BYTES = re.compile(ESCAPE_SEQUENCE.pattern.encode())
_PROBE_SIGN = b"on_failure"
_TEMPLATE_SIGN = TEMPLATE_SIGN.encode()
_PROBE_ERROR_BYTES = re.compile(PROBE_ERROR.pattern.encode())


class ServerLog:
    """Output of a server, of which only the end is kept.

    Taking output never waits, and takes the same time whatever it contains: a server must not block
    on a full pipe. Lines go to the logger ``mlxcel.server`` at level INFO.

    Args:
        secret: The server's key. It is replaced by stars wherever it occurs, as are all others that
            this process holds.

    Attributes:
        last_output_at: When the server last printed something, or else when this was made, in
            seconds of ``time.monotonic``.
    """

    def __init__(self, secret: Secret | None) -> None:
        self.last_output_at = time.monotonic()
        self._secret = secret
        self._kept = bytearray()
        self._feeding = threading.Lock()
        self._forwarder = _Forwarder(self._secret)
        self._template_failed: bool | None = False
        self._reader: threading.Thread | None = None

    @property
    def tail(self) -> str:
        """The last 200 lines, and the last 8 KB of each; 64 KB at most.

        Without colours, and without the errors by which mlxcel notes that it was asked too early.
        """
        # Without the lock, which a forked child may inherit locked: copying is one operation.
        raw = bytes(self._kept)
        shown = _without_escapes(raw)
        if shown.endswith(b"\n"):
            shown = _with_partial_key_hidden(shown, self._secret)
        else:
            shown = shown[: key_prefix_start(shown, self._secret)]
        shown = _redacted(shown, self._secret, cut=len(raw) >= _KEPT_BYTES)
        shown = _without_probe_errors(shown.removesuffix(b"\n"))
        lines = shown.rsplit(b"\n", _TAIL_LINES)[-_TAIL_LINES:]
        text = "\n".join(_decoded(line) for line in lines)
        if len(text) <= _TAIL_CHARACTERS:
            return text
        return text[-_TAIL_CHARACTERS - 1 :].partition("\n")[2]

    def take_template_failure(self) -> str | None:
        """Return why the chat template failed; None if it did not, or if this was reported."""
        if not self._template_failed:
            return None
        self._template_failed = None
        return template_failure(self.tail) or "see the log of the server"

    def drain(self, pipe: int) -> None:
        """Read a pipe to its end in a thread.

        Args:
            pipe: File descriptor, closed in the end.
        """
        reader = threading.Thread(target=self._read, args=(pipe,), name="mlxcel-log", daemon=True)
        try:
            reader.start()
        except RuntimeError:
            os.close(pipe)
            raise
        self._reader = reader

    def feed(self, piece: bytes) -> None:
        """Take a piece of output; may be called from any thread."""
        if _PROBE_SIGN not in piece or _without_probe_errors(_without_escapes(piece)):
            self.last_output_at = time.monotonic()
        with self._feeding:
            self._kept += piece
            if self._template_failed is False:
                # A line may come in pieces.
                start = max(0, len(self._kept) - len(piece) - len(_TEMPLATE_SIGN))
                self._template_failed = self._kept.find(_TEMPLATE_SIGN, start) != -1
            del self._kept[:-_KEPT_BYTES]
            self._forwarder.put(piece)

    def close(self) -> None:
        """End the output, as the end of a drained pipe does."""
        self._forwarder.end()

    def join(self, timeout: float) -> None:
        """Wait for the end of the pipe, which a grandchild of the server may keep open.

        Lines that the handlers of the logger have not taken by then are dropped.

        Args:
            timeout: Longest time to wait, in seconds.
        """
        deadline = time.monotonic() + timeout
        _join_thread(self._reader, timeout)
        self._forwarder.join(max(0.0, deadline - time.monotonic()))

    def _read(self, pipe: int) -> None:
        try:
            while piece := os.read(pipe, _READ_BYTES):
                self.feed(piece)
        finally:
            os.close(pipe)
            self.close()


class _Forwarder:
    """Passes lines to the handlers of the logger, which may fail, be slow or block forever.

    They run in a thread that is started with the first line.
    """

    def __init__(self, secret: Secret | None) -> None:
        self._secret = secret
        self._queue = bytearray()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._dropped = 0
        self._inside_skipped_line = False
        self._key_prefix = b""

    def put(self, piece: bytes) -> None:
        """Queue a piece of output if the logger is enabled."""
        with self._changed:
            if not logger.isEnabledFor(logging.INFO):
                self._end_line()
                self._inside_skipped_line = not piece.endswith(b"\n")
                return
            if self._inside_skipped_line:
                # The part that was skipped may have held the first half of the key.
                _, newline, piece = piece.partition(b"\n")
                self._inside_skipped_line = not newline
            self._queue += piece
            self._drop_oldest()
            self._ended = False
            if self._thread is None:
                self._start()
            self._changed.notify()

    def end(self) -> None:
        """Let the thread end when it has delivered the queue."""
        with self._changed:
            self._end_line()
            self._ended = True
            self._changed.notify()

    def join(self, timeout: float) -> None:
        """Give the thread some time to end, then drop the rest of the queue.

        A program ends in ``logging.shutdown``, which waits for the lock of each handler: a slow one
        would hold it up for as long as there are lines.
        """
        with self._changed:
            self._ended = True
            self._changed.notify()
        _join_thread(self._thread, timeout)
        with self._changed:
            self._drop(self._queue.rfind(b"\n") + 1)

    def _end_line(self) -> None:
        """End the line that is queued in part."""
        if self._queue and not self._queue.endswith(b"\n"):
            del self._queue[key_prefix_start(bytes(self._queue), self._secret) :]
            self._queue += b"\n"

    def _drop_oldest(self) -> None:
        """Halve a full queue, so that not every single line is preceded by a warning."""
        surplus = len(self._queue) - _QUEUE_BYTES // 2
        if surplus > _QUEUE_BYTES // 2:
            # The end of a line can stay if the line is longer than what is kept of one.
            line_end = self._queue.find(b"\n", surplus, surplus + _ENDLESS_BYTES)
            self._drop(line_end + 1 or surplus)

    def _drop(self, size: int) -> None:
        self._dropped += self._queue.count(b"\n", 0, size)
        del self._queue[:size]

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="mlxcel-log-forwarder", daemon=True)
        # The system may be out of threads, and Python starts none when it is ending.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while record := self._next_record():
            # Whatever a handler raises, even SystemExit.
            with contextlib.suppress(BaseException):
                logger.log(*record)

    def _next_record(self) -> tuple[int, str, object] | None:
        """Wait for a line or a warning; return its level, format and argument, None at the end."""
        with self._changed:
            while not self._dropped and b"\n" not in self._queue:
                if self._ended:
                    self._thread = None
                    return None
                # So that the search for the end of a line costs the same, however long it gets.
                del self._queue[:-_ENDLESS_BYTES]
                self._changed.wait()
            if self._dropped:
                count, self._dropped = self._dropped, 0
                return logging.WARNING, _TOO_SLOW, count
            end = self._queue.index(b"\n")
            line = bytes(self._queue[max(0, end - _ENDLESS_BYTES) : end])
            del self._queue[: end + 1]
        cut = len(line) == _ENDLESS_BYTES
        shown = _redacted(self._with_key_prefix(_without_escapes(line)), self._secret, cut=cut)
        return logging.INFO, "%s", _decoded(shown.rpartition(b"\n")[2])

    def _with_key_prefix(self, line: bytes) -> bytes:
        """Return a line with the end of those before it, if a key may have begun there.

        A key that goes on in the next line is hidden as soon as enough of it has come.
        """
        text = self._key_prefix + line
        begun = key_prefix_start(text, self._secret)
        self._key_prefix = text[begun:] + b"\n" if begun < len(text) else b""
        return _with_partial_key_hidden(text, self._secret)


_TOO_SLOW = (
    "Dropped lines of the server's output: %d. A handler of the logger mlxcel.server is too slow: "
    "use a faster one, or raise the level of the logger."
)


def _redacted(raw: bytes, secret: Secret | None, *, cut: bool) -> bytes:
    """Replace keys.

    Args:
        raw: Output that may hold them.
        secret: The server's key, if it has one.
        cut: Whether the beginning is missing, so that the second half of a key may come first.
    """
    shown = redacted(raw, secret)
    return shown[len(secret.reveal()) - 1 :] if cut and secret is not None else shown


def _with_partial_key_hidden(raw: bytes, secret: Secret | None) -> bytes:
    """Replace the first part of a key at the end of a line."""
    begun = key_prefix_start(raw, secret, _RECOGNIZED_BYTES)
    return raw[:begun] + re.sub(rb"[^\n]+", STARS, raw[begun:])


def _without_escapes(output: bytes) -> bytes:
    """Remove colours and other escape sequences."""
    return _ESCAPE_BYTES.sub(b"", output) if b"\x1b" in output else output


def _without_probe_errors(output: bytes) -> bytes:
    """Leave out the errors that probes have caused."""
    if _PROBE_SIGN not in output:
        return output
    lines = output.split(b"\n")
    return b"\n".join(line for line in lines if not _PROBE_ERROR_BYTES.search(line))


def _decoded(line: bytes) -> str:
    return line.rstrip(b"\r")[-_LINE_BYTES:].decode("utf-8", "replace")


def _join_thread(thread: threading.Thread | None, timeout: float) -> None:
    """Wait for a thread, unless it is this one.

    A handler may end the server, and so may the garbage collector, which runs in any thread.
    """
    if thread is not None and thread is not threading.current_thread():
        thread.join(timeout)
