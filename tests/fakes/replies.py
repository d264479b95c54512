"""Scripted replies, which become bytes when the request is known that they answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, Unpack

from tests.fakes.answers import Answer, Json, Turn, tool_call
from tests.fakes.default import constrained, limited
from tests.fakes.wire import DONE, FOLDED, SSE, STREAMS, completion_tokens, dumps, event


class Delivery(TypedDict, total=False):
    """How a reply is sent; every `Reply` constructor takes these.

    cut_after: Close the socket after this many body bytes.
    chunked: False sends a body that ends with the connection.
    hold_open: After the last byte stay silent, without ending the body.
    delay: Seconds between tokens or events.
    first_delay: Seconds before the first token (in a chat stream, after the role chunk).
    headers: Extra response headers.
    """

    cut_after: int
    chunked: bool
    hold_open: bool
    delay: float
    first_delay: float
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """One scripted reply; make it with a class method."""

    frames: tuple[bytes, ...] = ()
    status: int = 200
    content_type: str = "application/json"
    answer: Answer | None = None
    turn: Turn | None = None
    action: Literal["reply", "raw", "hang", "close"] = "reply"
    split: bool = False
    early: int = 0
    cut_after: int | None = None
    chunked: bool | None = None
    hold_open: bool = False
    delay: float = 0.0
    first_delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def text(
        cls,
        text: str = "",
        *,
        reasoning: str | None = None,
        tool_calls: Sequence[Json] | None = None,
        finish: str = "stop",
        usage: Json | None = None,
        logprobs: Sequence[Json] | None = None,
        **how: Unpack[Delivery],
    ) -> Reply:
        """Answer with a text, streamed or folded as the request asks.

        Args:
            text: The visible answer.
            reasoning: The thinking before it.
            tool_calls: `{"name", "arguments", "id"?}` each; a string of arguments stays as it is.
            finish: The finish reason; "error" is a failed generation, which is a status when
                the request does not stream.
            usage: Sent instead of the counted usage.
            logprobs: One entry a token, sent instead of made-up ones, when the request asks.
            how: See `Delivery`.
        """
        calls = [tool_call(call) for call in tool_calls or ()]
        if calls and finish == "stop":
            finish = "tool_calls"
        return cls(answer=Answer(text, reasoning, calls, finish, usage, logprobs), **how)

    @classmethod
    def raw_text(cls, *tokens: str, finish: str = "stop", **how: Unpack[Delivery]) -> Reply:
        """Answer with the tokens of a model, marks of thoughts and calls among them."""
        return cls(answer=Answer(raw=tokens, finish=finish), **how)

    @classmethod
    def events(
        cls,
        events: Sequence[Json | bytes | str],
        *,
        done: bool = True,
        chunk_size: int | None = None,
        **how: Unpack[Delivery],
    ) -> Reply:
        """Stream events: a dict is a JSON event, a str the data of one, bytes are literal.

        Args:
            events: The events in order.
            done: End with `[DONE]`.
            chunk_size: Cut the whole stream in sends of this many bytes.
            how: See `Delivery`.
        """
        frames = [as_event(item) for item in events] + [DONE] * done
        if chunk_size is not None:
            whole = b"".join(frames)
            frames = [whole[at : at + chunk_size] for at in range(0, len(whole), chunk_size)]
        return cls(tuple(frames), content_type=SSE, split=chunk_size is not None, **how)

    @classmethod
    def json(cls, value: object, status: int = 200, **how: Unpack[Delivery]) -> Reply:
        return cls((dumps(value),), status, **how)

    @classmethod
    def error(
        cls,
        status: int,
        message: str,
        type: str = "invalid_request_error",  # noqa: A002 - the name in the envelope
        code: str | int | None = None,
        **how: Unpack[Delivery],
    ) -> Reply:
        """Answer with the common error envelope."""
        body = {"error": {"message": message, "type": type, "code": code}}
        return cls.json(body, status, **how)

    @classmethod
    def plain(
        cls,
        status: int,
        text: str = "",
        content_type: str = "text/plain; charset=utf-8",
        **how: Unpack[Delivery],
    ) -> Reply:
        return cls((text.encode(),), status, content_type if text else "", **how)

    @classmethod
    def raw(cls, data: bytes, **how: Unpack[Delivery]) -> Reply:
        """Put these bytes on the socket, then close it."""
        return cls((data,), action="raw", **how)

    @classmethod
    def hang(cls) -> Reply:
        """Never answer."""
        return cls(action="hang")

    @classmethod
    def close(cls) -> Reply:
        """Close the connection without an answer."""
        return cls(action="close")

    def render(self, turn: Turn) -> Reply:
        """Turn an answer into the bytes for this request; other replies stay as they are."""
        if self.answer is None:
            return dataclasses.replace(self, turn=turn)
        answer = limited(constrained(self.answer, turn), turn)
        if turn.body.get("stream"):
            chunks = STREAMS[turn.kind](answer, turn)
            ends_plainly = turn.generation == "v0.4.2" and turn.kind == "native"
            done = () if ends_plainly else (DONE,)
            frames = (*(event(dumps(chunk)) for chunk in chunks), *done)
            early = 1 if turn.kind == "chat" else 0
            return dataclasses.replace(
                self, answer=answer, turn=turn, frames=frames, content_type=SSE, early=early
            )
        if answer.finish == "error":
            status = 400 if turn.generation == "v0.4.2" else 500
            return Reply.error(status, answer.failure, "server_error")
        return dataclasses.replace(
            self,
            answer=answer,
            turn=turn,
            frames=(dumps(FOLDED[turn.kind](answer, turn)),),
            first_delay=self.first_delay + self.delay * completion_tokens(answer),
        )

    def without_slot(self, failure: str, tokens: int) -> Reply:
        """The rendered reply as it is where no slot is left for it after so many tokens."""
        assert self.turn is not None
        failed = Reply(answer=Answer(finish="error", failure=failure)).render(self.turn)
        if self.content_type != SSE:
            return failed
        begun = self.frames[self.early : self.early + tokens]
        frames = (*failed.frames[: self.early], *begun, *failed.frames[self.early :])
        return dataclasses.replace(self, frames=frames)


def as_event(item: Json | bytes | str) -> bytes:
    if isinstance(item, bytes):
        return item
    return event(item.encode() if isinstance(item, str) else dumps(item))
