"""``StreamedAnswer``: an answer that is arriving, and what its end says about the server."""

from __future__ import annotations

import time

from ..errors import MlxcelError, MlxcelStreamError
from ..protocol.failures import not_a_stream
from ..protocol.headers import served_by
from ..protocol.message_tokens import chat_to_check
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
        incoming: The response that carries it.
        first: The deltas up to the first token.
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
        self.incoming = incoming
        self.first: list[Delta] = []
        self.done = False
        self._connection = connection
        self._request = request
        self._place = place
        self._stream = request.stream()
        self._stream.server = served_by(incoming.headers)
        self._buffering = connection.begin(began, self._stream.server)
        self._content_type = incoming.headers.get("content-type", "")
        self._is_stream = self._content_type.startswith("text/event-stream")
        self._exceeded = "", 0.0
        self._lost = False
        self._has_token = False
        self._sample = b""

    @property
    def begun(self) -> bool:
        """Whether a token has come, or progress of the prompt."""
        return bool(self.first or self._stream.text)

    @property
    def gave_up(self) -> bool:
        """Whether the server has said that it could not go on."""
        return self._stream.gave_up

    def feed(self, piece: bytes) -> list[Delta]:
        """Take the bytes of a read, and return the deltas that they complete.

        ``close`` raises any error in them.
        """
        if not self._is_stream:
            self.done, self._sample = True, redacted(piece[: begun_at_end(piece, least=4)])
            return []
        deltas = self._stream.feed(piece)
        self._has_token = bool(deltas) and deltas[-1].prompt_progress is None
        if self._buffering.undecided and self._has_token:
            self._buffering.observe(time.monotonic(), len(deltas))
        self.done = self._stream.done
        return deltas

    def renew_deadline(self) -> None:
        """Set the deadline of the next read by what the last one has brought.

        Raises:
            TimeoutError: No time is left for it.
        """
        deadline = self.incoming.deadline
        deadline.stands_still = self._stream.stands_still
        deadline.renew(time.monotonic(), self._has_token)

    def close(self) -> bool:
        """Check that the answer is complete; return whether its connection can be used again.

        Raises:
            MlxcelStreamError: The answer is not complete.
        """
        if not self._is_stream:
            raise self._not_a_stream()
        self._check_complete(log=log_tail(self._connection) if self._stream.gave_up else "")
        if not self.done or self._lost:
            return False
        self._learn()
        return keeps_alive(self.incoming.headers) and not self._stream.left

    def next_request(self) -> Request | None:
        """Return the request that follows this answer, None if it was the last one."""
        then = self._request.then
        return then(self._stream) if then is not None else None

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
        self._connection.end(self._buffering, self._place)

    def _check_complete(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        try:
            self._stream.close(reason, log)
        except MlxcelError as error:
            hide_secrets(error)
            raise

    def _learn(self) -> None:
        """Learn from a complete answer which model answers, and how many tokens its prompt has."""
        body, tokens = self._request.body, self._connection.tokens
        self._connection.learn(body.get("model"), self._stream.model, self._buffering)
        if self._stream.prompt_tokens is not None:
            chat = chat_to_check(body, tokens)
            if chat is not None:
                tokens.answered = chat, self._stream.prompt_tokens

    def _not_a_stream(self) -> MlxcelStreamError:
        where = self._connection.where(self.incoming.headers)
        return MlxcelStreamError(not_a_stream(redacted(self._content_type), self._sample, where))
