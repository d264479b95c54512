"""``StreamedAnswer``: an answer that is arriving, and what its end says about the server."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ..errors import MlxcelError, MlxcelStreamError
from ..protocol.answers.buffering import BufferingDetector
from ..protocol.answers.delta import Delta
from ..protocol.answers.stream import CONNECTION_ENDED
from ..protocol.failures import not_a_stream
from ..protocol.generation_request import Request
from ..secret import key_prefix_start, redacted
from .connection import Connection
from .diagnosis import broken, hide_secrets, log_tail
from .line import Place
from .steps import CONNECTION_ERRORS, Close, Incoming, Next, Sleep, Steps

__all__ = ["StreamedAnswer"]

DRAIN_SECONDS = 0.05
"""Longest wait for what follows ``[DONE]``."""


class StreamedAnswer:
    """An answer that is arriving: ``begin`` it, ``feed`` it each piece, and ``end`` it.

    If a read fails, ``fail`` takes the place of ``end``. In any case, ``leave`` the line when
    nothing more is read.

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
        done: Whether nothing is left to read.
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
        self._detector = BufferingDetector(began)
        connection.under_way.add(self._detector)
        if len(connection.under_way) > 1:
            # With several streams at once, the reader itself may be what is late.
            for one in list(connection.under_way):
                one.watched = False
        self._content_type = incoming.headers.get("content-type", "")
        self._is_stream = self._content_type.startswith("text/event-stream")
        self._body_ended = False
        self._sample = b""

    def begin(self) -> Steps[None]:
        """Read until the first token, or until the end if there is none.

        Raises:
            MlxcelStreamError: A read failed before the answer was complete.
        """
        try:
            self.first = self.feed((yield Next(self.incoming)))
            while not (self.begun or self.done):
                self.incoming.deadline.renew(time.monotonic(), self.has_token)
                self.first = self.feed((yield Next(self.incoming)))
        except CONNECTION_ERRORS as error:
            self.leave()
            yield Close(self.incoming)
            yield from self.fail(error)
        except BaseException as error:
            self.leave()
            # A generator that is being closed cannot yield another step.
            if not isinstance(error, GeneratorExit):
                yield Close(self.incoming)
            raise

    def feed(self, piece: bytes | None) -> list[Delta]:
        """Take the bytes of a read, None at the end, and return the deltas that they complete.

        ``end`` raises any error in them.
        """
        if piece is None:
            self.done = self._body_ended = True
            return []
        if not self._is_stream:
            self.done, self._sample = True, redacted(piece[: key_prefix_start(piece, least=4)])
            return []
        deltas = self.stream.feed(piece)
        if self.stream.broke_off:
            self._connection.line.broke_off()
        self.begun = self.begun or bool(deltas or self.stream.text)
        self.has_token = bool(deltas) and deltas[-1].prompt_progress is None
        if self._detector.watched and self.has_token:
            arrivals = self._detector.arrivals
            arrivals += [time.monotonic()] * len(deltas)
            if len(arrivals) >= BufferingDetector.WATCHED_TOKENS:
                self._detector.watched = False
        self.incoming.deadline.stands_still = self.stream.stands_still
        self.done = self.stream.done
        return deltas

    def end(self) -> Steps[None]:
        """Check that the answer, of which nothing is left to read, is complete.

        What follows ``[DONE]`` is read so that the connection can be used again; a server that
        neither sends more nor ends the response must not delay the answer.

        Raises:
            MlxcelStreamError: The answer is not complete.
            StructuredOutputError: The server gave up after JSON that does not fit its schema.
        """
        if not self._is_stream:
            raise self._not_a_stream()
        log = ""
        if self.stream.gave_up:
            # The log of a managed server, which says why, arrives a moment later.
            yield Sleep(self._connection.settle_seconds)
            log = log_tail(self._connection)
        self._check_complete(log=log)
        if self._body_ended:
            return
        self._connection.learn(self.request.body, self.stream, self._detector.were_buffered)
        # llama.cpp closes the connection of a stream although its headers say otherwise, and a
        # request that is sent before this is noticed would be lost.
        if not self.stream.left and self.incoming.headers.get("server") != "llama.cpp":
            self.incoming.deadline.shorten(DRAIN_SECONDS, time.monotonic())
            with contextlib.suppress(*CONNECTION_ERRORS):
                yield Next(self.incoming)

    def fail(self, error: Exception) -> Steps[None]:
        """Check that the answer was complete when a read of it failed.

        Raises:
            MlxcelStreamError: The answer is not complete.
        """
        self.done = self._body_ended = True
        exceeded = self.incoming.deadline.exceeded(time.monotonic())
        yield Sleep(self._connection.settle_seconds)
        self._check_complete(*broken(self._connection, error, exceeded))

    def leave(self) -> None:
        """Give the place in the line back: the answer is not read any further."""
        self._connection.under_way.discard(self._detector)
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
