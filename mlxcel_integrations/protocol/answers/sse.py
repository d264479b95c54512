r"""Server-sent events: bytes in, the data of whole events out, whatever the chunking.

Follows the event stream format of the HTML standard (section 9.2.6), as far as model servers
use it: ``data`` lines, comments, and line ends of ``\n``, ``\r\n`` or ``\r``. An error in an
``event: error``, in llama.cpp's ``error:`` lines, or in a line of JSON alone becomes data with the
key ``error``.
Bytes are split before they are decoded, and only at these line ends: U+0085, U+2028 and U+2029
are text.
"""

from __future__ import annotations

import json
import re

from ...errors import MlxcelStreamError
from ..validation import NOT_JSON, from_json

__all__ = ["END_OF_STREAM", "MAX_EVENT_BYTES", "SSEDecoder"]

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""The largest event that is accepted, in bytes: far above any answer of a language model."""

END_OF_STREAM = b"[DONE]"
"""The data of the event that ends an answer."""

_FIELD_OR_COMMENT = re.compile(rb":|(?:event|id|retry)(?::|$)")


class SSEDecoder:
    """Decode an event stream that arrives in pieces.

    Takes linear time: a piece without a line end is only put aside.

    Args:
        max_event_bytes: Larger events, or lines, are refused.

    Attributes:
        stray: The last line that does not belong to an event stream, such as one of a traceback;
            empty without one, or if an event has come since.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._unfinished: list[bytes] = []
        self._unfinished_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._is_error = False
        self._after_cr = False
        self._at_start = True
        self.stray = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes and return the data of the events that they complete.

        Raises:
            MlxcelStreamError: A line or an event is larger than allowed.
        """
        if self._after_cr or b"\r" in piece:
            piece = self._with_newlines(piece)
        if b"\n" not in piece:
            self._put_aside(piece)
            return []
        if self._unfinished:
            self._unfinished.append(piece)
            piece = b"".join(self._unfinished)
            self._unfinished, self._unfinished_bytes = [], 0
        if self._at_start:
            self._at_start = False
            piece = piece.removeprefix(b"\xef\xbb\xbf")
        *lines, rest = piece.split(b"\n")
        if len(piece) > self._max and max(map(len, lines)) > self._max:
            raise self._too_large()
        events = self._take(lines)
        if rest:
            self._put_aside(rest)
        return events

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events = []
        data = self._data
        for line in lines:
            if not line:
                if data or self._is_error:
                    whole = b"\n".join(data)
                    events.append(_as_error(whole) if self._is_error else whole)
                    if self.stray and whole != END_OF_STREAM:
                        self.stray = b""
                    data = self._data = []
                    self._data_bytes = 0
                self._is_error = False
            elif line.startswith(b"data:") or line == b"data":
                data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._data_bytes += len(line)
                if self._data_bytes > self._max:
                    raise self._too_large()
            elif line.startswith(b"error:") or (line.startswith(b"{") and b'"error"' in line):
                # The latter is written by a handler that does not know of the stream.
                data.append(line.removeprefix(b"error:"))
                self._data_bytes += len(line)
                self._is_error = True
                if self._data_bytes > self._max:
                    raise self._too_large()
            elif line.startswith(b"event:") and line[6:].strip().lower() == b"error":
                self._is_error = True
            elif not _FIELD_OR_COMMENT.match(line) and END_OF_STREAM not in events:
                self.stray = line
        return events

    def _put_aside(self, piece: bytes) -> None:
        self._unfinished.append(piece)
        self._unfinished_bytes += len(piece)
        if self._unfinished_bytes > self._max:
            raise self._too_large()

    def _with_newlines(self, piece: bytes) -> bytes:
        r"""Turn every line end into ``\n``, also a ``\r\n`` that two pieces share."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _too_large(self) -> MlxcelStreamError:
        return MlxcelStreamError(
            f"The server sent an event of more than {self._max} bytes, which is too large for an "
            "answer of a language model. Check that the address is that of an mlxcel server."
        )


def _as_error(data: bytes) -> bytes:
    """Return the data of an error as a JSON object with the key ``error``."""
    told = from_json(data)
    if told is NOT_JSON:
        told = data[:2000].decode(errors="replace").strip()
    if isinstance(told, dict) and told.get("error"):
        return data
    return json.dumps({"error": told or "an error without a message"}).encode()
