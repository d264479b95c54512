"""Replies of a server as LlamaIndex's responses, whole and in chunks."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import BaseModel

from ..protocol.answers.delta import Delta
from ..protocol.answers.reply import ChatReply, add_metadata
from ..protocol.tools.tool_calls import CallParts
from ..protocol.validation import call_arguments
from ..transport.owned_generator import OwnedGenerator
from .mlxcel_errors import llama_index_errors
from .prompt_progress import with_progress_event

__all__ = ["ChatChunks", "CompletionChunks", "to_chat_response", "to_completion_response"]

Call = dict[str, Any]

Response = TypeVar("Response", ChatResponse, CompletionResponse)

MIN_GROWTH = 0.01
"""Growth of the tool calls, as a share of their characters, after which a chunk shows them."""


def to_chat_response(reply: ChatReply) -> ChatResponse:
    """Return the response for a whole answer."""
    calls = [_whole_call(call) for call in reply.tool_calls or ()]
    beside = _calls_beside_blocks(reply)
    message = ChatMessage(
        role=MessageRole.ASSISTANT,
        blocks=_blocks(reply, calls),
        additional_kwargs={"tool_calls": beside} if beside else {},
    )
    return ChatResponse(
        message=message,
        raw=_raw(reply),
        logprobs=_logprobs(reply.logprobs),
        additional_kwargs=_token_counts(reply.usage),
    )


def to_completion_response(reply: ChatReply) -> CompletionResponse:
    """Return the response for a whole completion."""
    return CompletionResponse(
        text=reply.text,
        raw=_raw(reply),
        logprobs=_logprobs(reply.logprobs),
        additional_kwargs=_token_counts(reply.usage),
    )


class _Chunks(Generic[Response]):
    """The deltas of an answer, added up for chunks that each hold the answer so far.

    Attributes:
        reply: The answer so far, without its log probabilities.
    """

    def __init__(self) -> None:
        self.reply = ChatReply()
        self._calls = CallParts()
        self._next_length = 0

    def stream(self, deltas: Iterable[Delta]) -> Generator[Response, None, None]:
        """Yield the chunks of an answer, the last one at its end."""
        with llama_index_errors:
            for delta in deltas:
                if (chunk := self.add(delta)) is not None:
                    yield chunk
        yield self.last()

    async def astream(self, answer: AsyncGenerator[Delta, None]) -> AsyncGenerator[Response, None]:
        """Yield the chunks of an answer, the last one at its end."""
        with llama_index_errors:
            async with OwnedGenerator(answer) as deltas:
                async for delta in deltas:
                    if (chunk := self.add(delta)) is not None:
                        yield chunk
        yield self.last()

    def add(self, delta: Delta) -> Response | None:
        """Return the chunk for a delta, or None if it brings nothing to show."""
        raise NotImplementedError

    def last(self) -> Response:
        """Return the last chunk, with the counts and the finish reason of the answer."""
        raise NotImplementedError

    def _add(self, delta: Delta) -> bool:
        """Add a delta to the answer, and return whether it makes a chunk."""
        reply = self.reply
        with_progress_event(delta)
        reply.text += delta.text
        if delta.reasoning:
            reply.reasoning += delta.reasoning
        if delta.tool_calls:
            self._calls.add(delta.tool_calls)
        if delta.finish_reason or delta.usage or delta.timings:
            add_metadata(reply, delta)
        return bool(delta.text or delta.reasoning or self._calls_are_due(delta) or delta.logprobs)

    def _calls_are_due(self, delta: Delta) -> bool:
        """Return whether a delta adds enough to the calls for a new chunk.

        Each chunk holds all calls so far and all of their arguments, so a chunk for each delta
        would take time that grows with the square of their number and of their length. A chunk
        therefore waits for as many new characters as there are calls, and for a share of the
        length.
        """
        length = self._calls.length
        if not delta.tool_calls or length < self._next_length:
            return False
        self._next_length = length + max(len(self._calls), int(length * MIN_GROWTH))
        self.reply.tool_calls = self._calls.joined()
        return True


class ChatChunks(_Chunks[ChatResponse]):
    """The chunks of a chat: each holds the message so far, and its new text.

    Chunks with the same calls share them: a copy for each piece of a text after them would take
    time that grows with their number.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[Call] | None = None
        self._blocks: list[ToolCallBlock] = []
        self._beside: list[Call] = []

    def add(self, delta: Delta) -> ChatResponse | None:
        """Return the chunk for a delta, or None if it brings nothing to show."""
        if not self._add(delta):
            return None
        reply = self.reply
        if not (reply.reasoning or reply.tool_calls or delta.logprobs):
            return _chunk([_text(reply.text)], delta.text)
        if reply.tool_calls and reply.tool_calls is not self._shown:
            self._shown = reply.tool_calls
            self._blocks = [_call(each, each["function"]["arguments"]) for each in self._shown]
            self._beside = _calls_beside_blocks(reply)
        chunk = _chunk(_blocks(reply, self._blocks), delta.text)
        if self._beside:
            chunk.message.additional_kwargs = {"tool_calls": [*self._beside]}
        chunk.logprobs = _logprobs(delta.logprobs)
        if delta.reasoning:
            chunk.additional_kwargs["thinking_delta"] = delta.reasoning
        return chunk

    def last(self) -> ChatResponse:
        """Return the last chunk of the answer, with its counts and finish reason."""
        self.reply.tool_calls = self._calls.joined() or None
        response = to_chat_response(self.reply)
        response.delta = ""
        return response


class CompletionChunks(_Chunks[CompletionResponse]):
    """The chunks of a completion: each holds the text so far, and its new part."""

    def add(self, delta: Delta) -> CompletionResponse | None:
        """Return the chunk for a delta, or None if it brings nothing to show."""
        if not self._add(delta):
            return None
        fields: dict[str, Any] = {
            "text": self.reply.text,
            "raw": None,
            "delta": delta.text,
            "logprobs": _logprobs(delta.logprobs),
            "additional_kwargs": {},
        }
        return _fast_construct(CompletionResponse, _COMPLETION_FIELDS, fields)

    def last(self) -> CompletionResponse:
        """Return the last chunk of the completion, with its counts and finish reason."""
        response = to_completion_response(self.reply)
        response.delta = ""
        return response


# --------------------------------------------------------------------------- messages


def _blocks(reply: ChatReply, calls: Sequence[ToolCallBlock]) -> list[ContentBlock]:
    """Return the blocks of an answer: thinking, then one text, then calls."""
    blocks: list[ContentBlock] = []
    if reply.reasoning:
        details = (reply.usage or {}).get("completion_tokens_details") or {}
        tokens = details.get("reasoning_tokens")
        blocks.append(ThinkingBlock(content=reply.reasoning, num_tokens=tokens))
    if reply.text or not calls:
        blocks.append(_text(reply.text))
    return [*blocks, *calls]


def _calls_beside_blocks(reply: ChatReply) -> list[Call]:
    """Return the calls in the form in which LlamaIndex's programs read them."""
    return [{**call, "function": dict(call["function"])} for call in reply.tool_calls or ()]


def _whole_call(call: Call) -> ToolCallBlock:
    """Return a call with parsed arguments; those that are not a JSON object stay text."""
    text = call["function"]["arguments"]
    arguments = call_arguments(text)
    return _call(call, text if arguments is None else arguments)


def _call(call: Call, arguments: dict[str, Any] | str) -> ToolCallBlock:
    return ToolCallBlock(
        tool_call_id=call["id"], tool_name=call["function"]["name"], tool_kwargs=arguments
    )


# --------------------------------------------------------------------------- metadata


def _raw(reply: ChatReply) -> dict[str, Any]:
    """Return the facts that the server sent about an answer."""
    facts = {
        "id": reply.id,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "usage": reply.usage,
        "timings": reply.timings,
        "logprobs": reply.logprobs,
    }
    return {name: value for name, value in facts.items() if value is not None}


_TOKEN_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def _token_counts(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: usage[name] for name in _TOKEN_COUNTS if name in usage} if usage else {}


def _logprobs(given: Mapping[str, Any] | None) -> list[list[LogProb]] | None:
    """Return a list for each token: the token itself, then its alternatives."""
    if not given:
        return None
    if "tokens" in given:
        return _completion_logprobs(given)
    return [
        [_logprob(entry)]
        + [
            _logprob(other)
            for other in entry.get("top_logprobs") or ()
            if other["token"] != entry["token"]
        ]
        for entry in given.get("content") or ()
    ]


def _logprob(entry: Mapping[str, Any]) -> LogProb:
    return LogProb(
        token=entry["token"],
        logprob=_finite_or_minus_infinity(entry.get("logprob")),
        bytes=entry.get("bytes") or [],
    )


def _finite_or_minus_infinity(logprob: float | None) -> float:
    # JSON cannot hold the logarithm of zero, so servers write null.
    return -math.inf if logprob is None else logprob


def _completion_logprobs(given: Mapping[str, Any]) -> list[list[LogProb]]:
    """Read log probabilities in the form that only text completions have."""
    columns = (given["tokens"], given["token_logprobs"], given.get("top_logprobs") or ())
    return [
        [LogProb(token=token, logprob=_finite_or_minus_infinity(logprob))]
        + [
            LogProb(token=other, logprob=_finite_or_minus_infinity(value))
            for other, value in (alternatives or {}).items()
            if other != token
        ]
        for token, logprob, alternatives in itertools.zip_longest(*columns)
    ]


# --------------------------------------------------------------------------- building

M = TypeVar("M", bound=BaseModel)

_TEXT_FIELDS = frozenset({"text"})
_MESSAGE_FIELDS = frozenset({"role", "blocks"})
_CHAT_FIELDS = frozenset({"message", "delta"})
_COMPLETION_FIELDS = frozenset({"text", "delta"})
"""Names of the fields that a constructor would be given."""


def _text(text: str) -> TextBlock:
    return _fast_construct(TextBlock, _TEXT_FIELDS, {"block_type": "text", "text": text})


def _chunk(blocks: list[ContentBlock], delta: str) -> ChatResponse:
    message = {"role": MessageRole.ASSISTANT, "additional_kwargs": {}, "blocks": blocks}
    return _fast_construct(
        ChatResponse,
        _CHAT_FIELDS,
        {
            "message": _fast_construct(ChatMessage, _MESSAGE_FIELDS, message),
            "raw": None,
            "delta": delta,
            "logprobs": None,
            "additional_kwargs": {},
        },
    )


def _fast_construct(kind: type[M], given: frozenset[str], fields: dict[str, Any]) -> M:
    """Make a Pydantic model without validating it.

    The validating constructors take longer than all other work on a token. ``model_construct``,
    which looks at each field, is slow as well; this sets the same state, and a test compares the
    result with the constructors'.

    Args:
        kind: Class of the model.
        given: Names of the fields that a constructor would be given.
        fields: The values of all fields.
    """
    made = _new(kind)
    _set(made, "__dict__", fields)
    _set(made, "__pydantic_fields_set__", set(given))
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made


_new, _set = object.__new__, object.__setattr__
