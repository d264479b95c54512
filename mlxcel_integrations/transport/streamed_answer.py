"""``StreamedAnswer``: an answer that is arriving, and what its end says about the server."""

from __future__ import annotations

import time
from typing import Any

from ..errors import MlxcelError, MlxcelStreamError
from ..protocol.buffering import BufferingDetector
from ..protocol.failures import not_a_stream
from ..protocol.stream import CONNECTION_ENDED, Delta, Request
from ..secret import begun_at_end, redacted
from .connection import Connection
from .diagnosis import broken, hide_secrets, log_tail
from .line import Place
from .sockets import keeps_alive
from .steps import Incoming

__all__ = ["StreamedAnswer"]


class StreamedAnswer:
    """An answer that is arriving: ``feed`` it each piece, and ``close`` it at the end.

    If a read fails, ``lose`` and ``close_after`` take the place of ``close``. In any case,
    ``leave`` the line when nothing more is read.

    Args:
        connection: The server that answers.
        request: What it answers.
        incoming: The response that carries the answer.
        began: When the request was sent, in seconds.
        place: Its place in the line, None without a line.

    Attributes:
        request: What it answers.
        incoming: The response that carries it.
        stream: Its reader.
        first: The deltas up to the first token.
        begun: Whether a token has come, or progress of the prompt.
        has_token: Whether the last read has brought a token.
        done: Whether nothing more needs to be read.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        incoming: Incoming,
        began: float,
        place: Place | None,
    ) -> None:
        self.request = request
        self.incoming = incoming
        self.stream = request.stream()
        self.stream.server = incoming.server
        self.first: list[Delta] = []
        self.begun = self.has_token = self.done = False
        self._connection = connection
        self._place = place
        if incoming.server is not None:
            connection.line.saw(incoming.server)
        self._buffering = BufferingDetector(began)
        connection.under_way.add(self._buffering)
        if len(connection.under_way) > 1:
            # With several streams at once, the reader itself may be what is late.
            for one in list(connection.under_way):
                one.undecided = False
        self._content_type = incoming.headers.get("content-type", "")
        self._is_stream = self._content_type.startswith("text/event-stream")
        self._exceeded = "", 0.0
        self._lost = False
        self._sample = b""

    def feed(self, piece: bytes) -> list[Delta]:
        """Take the bytes of a read, and return the deltas that they complete.

        ``close`` raises any error in them.
        """
        if not self._is_stream:
            self.done, self._sample = True, redacted(piece[: begun_at_end(piece, least=4)])
            return []
        deltas = self.stream.feed(piece)
        if self.stream.broke_off:
            self._connection.line.broke_off()
        self.begun = self.begun or bool(deltas or self.stream.text)
        self.has_token = bool(deltas) and deltas[-1].prompt_progress is None
        if self._buffering.undecided and self.has_token:
            self._buffering.observe(time.monotonic(), len(deltas))
        self.incoming.deadline.stands_still = self.stream.stands_still
        self.done = self.stream.done
        return deltas

    def close(self) -> bool:
        """Check that the answer is complete; return whether its connection can be used again.

        Raises:
            MlxcelStreamError: The answer is not complete.
            StructuredOutputError: The server gave up after JSON that does not fit its schema.
        """
        if not self._is_stream:
            raise self._not_a_stream()
        self._check_complete(log=log_tail(self._connection) if self.stream.gave_up else "")
        if not self.done or self._lost:
            return False
        self._connection.learn(self.request.body, self.stream, self._buffering.buffered)
        return keeps_alive(self.incoming.headers) and not self.stream.left

    def lose(self) -> float:
        """Note that a read failed; return the seconds to wait before ``close_after``."""
        self.done = self._lost = True
        self._exceeded = self.incoming.deadline.exceeded(time.monotonic())
        return self._connection.settle_seconds

    def close_after(self, error: Exception) -> None:
        """Check that the answer was complete when a read failed.

        Raises:
            MlxcelStreamError: The answer is not complete.
        """
        self._check_complete(*broken(self._connection, error, self._exceeded))

    def leave(self) -> None:
        """Give the place in the line back: the answer is not read any further."""
        self._connection.under_way.discard(self._buffering)
        self._connection.line.leave(self._place)

    def _check_complete(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        try:
            self.stream.close(reason, log)
            if self.stream.failed and self.request.check is not None:
                self.request.check(self._body_sent(), self.stream.text)
        except MlxcelError as error:
            hide_secrets(error)
            raise

    def _body_sent(self) -> dict[str, Any]:
        request = self.request
        refused = self._connection.refused_schemas
        return refused.adapted(request.body) if request.relaxable else request.body

    def _not_a_stream(self) -> MlxcelStreamError:
        where = self._connection.where(self.incoming.server)
        return MlxcelStreamError(not_a_stream(redacted(self._content_type), self._sample, where))
