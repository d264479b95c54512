"""Chats: ``/v1/chat/completions``."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import MlxcelStreamError
from .arguments import whole
from .call_reader import CallReader
from .features import ServerFeatures
from .headers import check_session
from .json_end import JSONEnd
from .messages import Conversation
from .prompted_tools import with_prompted_tools
from .repetition import MOST_BLANK
from .sampling import depends_on_engine, request_fields
from .smallest_answer import check_room
from .stop import StopFilter
from .stream import (
    BEYOND_JSON,
    CONNECTION_ENDED,
    CUT,
    Delta,
    DeltaStream,
    Request,
    ending,
    has_schema,
    stop_texts,
)
from .tool_calls import CallNumbering
from .tools import with_tools
from .validation import NOT_JSON, as_object, from_json

__all__ = [
    "CallStream",
    "ChatStream",
    "PromptedStream",
    "SchemaStream",
    "ToolStream",
    "chat_depends_on_server",
    "chat_request",
]

ROUTE = "/v1/chat/completions"

CONTROL_TOKENS = 8
"""Most tokens around thoughts that are not sent, such as ``<think>``; a call has more."""


def chat_request(
    model: str,
    conversation: Conversation,
    sampling: Mapping[str, Any],
    features: ServerFeatures | None = None,
) -> Request:
    """Ask for the next turn of a conversation.

    Args:
        model: Name of the served model.
        conversation: The messages.
        sampling: Sampling fields; None values are left to the server.
        features: The server's features, None if they do not matter.

    Raises:
        MlxcelError: No server accepts a part of a message, or a field.
    """
    conversation.check_media(features)
    if features is not None and features.tools is False:
        return _prompted_request(model, conversation, sampling, features)
    names: list[str] = []
    without_tools = None
    if sampling.get("tools") is not None or sampling.get("tool_choice") is not None:
        if features is not None:
            known = dataclasses.replace(features, tools=False)
            without_tools = partial(_prompted_request, model, conversation, sampling, known)
        sampling, names = with_tools(sampling, features)
    body = _chat_body(model, conversation, sampling, features)
    if sampling.get("relaxable") and has_schema(body) and not names:
        check_room(sampling["response_format"], whole(body.get("max_tokens")))
    reader = _reader(body, names, features, may_repeat=sampling.get("bounded") is False)
    session = check_session(sampling.get("session"))
    # Arguments of calls are checked by the tools.
    relaxable = bool(names or sampling.get("relaxable"))
    return Request(ROUTE, body, reader, session, relaxable=relaxable, without_tools=without_tools)


def _prompted_request(
    model: str,
    conversation: Conversation,
    sampling: Mapping[str, Any],
    features: ServerFeatures,
) -> Request:
    """Ask for the next turn of a conversation where the chat template knows no tools."""
    conversation, sampling, names = with_prompted_tools(conversation, sampling)
    body = _chat_body(model, conversation, sampling, features)
    may_repeat = sampling.get("bounded") is False
    reader = _reader(body, (), features, may_repeat=may_repeat)
    if names:
        # They end the text of an answer, not the JSON around it.
        stops = stop_texts(body)
        body.pop("stop", None)
        reader = partial(PromptedStream, names, stops, may_repeat=may_repeat)
    session = check_session(sampling.get("session"))
    return Request(ROUTE, body, reader, session, bool(names or sampling.get("relaxable")))


def _chat_body(
    model: str,
    conversation: Conversation,
    sampling: Mapping[str, Any],
    features: ServerFeatures | None,
) -> dict[str, Any]:
    return {
        "model": model,
        "messages": conversation.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        **request_fields(sampling, features.engine if features else None),
    }


def _reader(
    body: Mapping[str, Any],
    names: Sequence[str],
    features: ServerFeatures | None,
    *,
    may_repeat: bool,
) -> Callable[[], DeltaStream]:
    """Return a factory of readers of the answer to a request body.

    Args:
        body: The request body.
        names: The tools that the answer may call in JSON.
        features: The server's features, None if they do not matter.
        may_repeat: Whether an answer that repeats itself is read to its end.
    """
    if names:
        return partial(CallStream, frozenset(names), may_repeat=may_repeat)
    if has_schema(body):
        return partial(SchemaStream, may_repeat=may_repeat)
    may_call = body.get("tools") and body.get("tool_choice") != "none"
    # A stop text at its beginning leaves nothing of an answer.
    may_be_empty = body.get("stop") and features is not None and features.stops
    return ending(ToolStream if may_call and not may_be_empty else ChatStream, body)


def chat_depends_on_server(conversation: Conversation, sampling: Mapping[str, Any]) -> bool:
    """Tell whether a request depends on the features of the server."""
    if sampling.get("tools") or conversation.has_calls or conversation.media:
        return True
    return depends_on_engine(sampling)


class ChatStream(DeltaStream):
    """Read a streamed chat answer.

    White space before its text is left out, as servers do with whole answers: templates and
    thoughts leave some there.
    """

    _begun = False
    _numbering: CallNumbering | None = None
    _blank = 0

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        part = choice["delta"]
        text = part.get("content") or ""
        if not self._begun and text:
            length = len(text)
            text = text.lstrip()
            self._begun = bool(text)
            self._blank += length - len(text)
        delta = Delta(text)
        # Servers use one of two names for the thinking; some send it under both.
        reasoning = part.get("reasoning_content") or part.get("reasoning")
        if reasoning:
            delta.reasoning = reasoning
        if part.get("tool_calls"):
            self._numbering = self._numbering or CallNumbering()
            delta.tool_calls = self._numbering.number(part["tool_calls"])
        if choice.get("finish_reason"):
            delta.finish_reason = choice["finish_reason"]
        if choice.get("logprobs"):
            delta.logprobs = choice["logprobs"]
        return delta


class ToolStream(ChatStream):
    """Read an answer that may contain tool calls.

    mlxcel up to v0.4.2 drops a call that is cut off or malformed, and ends as if the model had said
    nothing, or nothing after its thoughts.
    """

    _silent = True
    _tokens = 0
    _thinking = 0
    _reported: int | None = None
    _finish: str | None = None

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is not None:
            if delta.text or delta.tool_calls:
                self._silent = False
            if delta.reasoning:
                # One token, or one for each byte of its characters.
                size = len(delta.reasoning.encode(errors="surrogatepass"))
                self._thinking += 1 + size - len(delta.reasoning)
            if delta.usage:
                self._tokens = delta.usage.get("completion_tokens") or 0
                details = delta.usage.get("completion_tokens_details") or {}
                self._reported = details.get("reasoning_tokens")
            self._finish = delta.finish_reason or self._finish
        return delta

    def close(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        """Say that no more bytes come; see ``DeltaStream.close``.

        Raises:
            MlxcelStreamError: The answer is not complete, or the server dropped all of it.
        """
        super().close(reason, log)
        if self._silent and not self.left and self._finish != "length" and self._dropped_a_call():
            after = " after the thoughts" if self._thinking else ""
            raise MlxcelStreamError(
                f"The model generated {self._tokens} tokens, but {self._who} sent neither text nor "
                f"a tool call{after}: it drops a call that is cut off or malformed. Ask again, or "
                "raise max_tokens."
            )

    def _dropped_a_call(self) -> bool:
        """Tell whether more tokens were generated than an answer without text and calls has."""
        if not self._thinking:
            # A model that has nothing to say generates one token, which ends the answer.
            return self._tokens > 1
        return self._tokens - (self._reported or self._thinking) > CONTROL_TOKENS


class SchemaStream(ChatStream):
    """Read an answer that follows a schema.

    A model whose prompt ends in an open ``<think>`` writes its JSON as thoughts, which become the
    text at the end of the answer, or as soon as the JSON is complete.

    Args:
        may_repeat: Whether an answer that repeats itself is read to its end.
    """

    def __init__(self, *, may_repeat: bool = False) -> None:
        super().__init__(has_schema=True, may_repeat=may_repeat)
        self._thoughts: list[str] = []
        self._thinks = False
        self._thought_json: JSONEnd | None = JSONEnd()
        self._beyond_thought = 0

    def expect_thoughts(self) -> None:
        """Take JSON in thoughts for thoughts, since the model was asked to think."""
        self._thinks, self._thought_json = True, None

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        delta = super()._read_choice(choice)
        if delta.reasoning:
            self._thoughts.append(delta.reasoning)
            if self._thought_json is not None and not delta.finish_reason:
                self._read_thought(self._thought_json, delta)
        elif self._blank > MOST_BLANK and not self._begun and self._repetition is not None:
            self._leave(delta, "repetition")
        if delta.finish_reason and self._thoughts and not (self.text + delta.text).strip():
            thoughts = "".join(self._thoughts)
            if self._is_answer(thoughts):
                delta.text = thoughts
        return delta

    def _is_answer(self, thoughts: str) -> bool:
        """Tell whether the JSON of an answer without text has come as its thoughts."""
        if self._thinks:
            return isinstance(from_json(thoughts), dict | list)
        return thoughts.lstrip().startswith(("{", "["))

    def _read_thought(self, end: JSONEnd, delta: Delta) -> None:
        """Leave an answer whose thoughts are complete JSON, followed only by white space."""
        length = end.feed(delta.reasoning)
        if end.endless or (end.complete and delta.reasoning[length:].strip()):
            self._thought_json = None  # the model only thinks
        elif length < len(delta.reasoning):
            self._beyond_thought += 1
            if self._beyond_thought > BEYOND_JSON and not self.text:
                self._leave(delta)
        elif not end.complete and self._repeats(delta.reasoning, end):
            self._leave(delta, "repetition")


class CallStream(SchemaStream):
    """Read an answer that may be a tool call in JSON.

    This is decided at the end of the answer, when mlxcel sends its own tool calls, too.

    Args:
        names: The tools that may be called.
        may_repeat: Whether an answer that repeats itself is read to its end.
    """

    def __init__(self, names: frozenset[str], *, may_repeat: bool = False) -> None:
        super().__init__(may_repeat=may_repeat)
        self._names = names
        self._called = self._told = False

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is None:
            return None
        delta.text = ""
        self._called = self._called or bool(delta.tool_calls)
        if delta.finish_reason and not self._told:
            self._told = True
            self._tell(delta)
        return delta if delta != Delta() else None

    def _tell(self, delta: Delta) -> None:
        """Put the whole answer into the last delta: a call, a cut call, or text."""
        call = None if self._called else self._call(self.text)
        cut = None if self._called or call else self._cut_call(self.text)
        if call is not None:
            delta.tool_calls, delta.finish_reason = [call], "tool_calls"
        elif cut is not None:
            delta.tool_calls = [cut]
        else:
            delta.text = self.text

    def _call(self, text: str) -> dict[str, Any] | None:
        call = from_json(text)
        if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
            return None
        if not (isinstance(call["name"], str) and isinstance(call["arguments"], dict)):
            return None
        if call["name"] not in self._names:
            return None
        return _to_call(call["name"], json.dumps(call["arguments"], ensure_ascii=False))

    def _cut_call(self, text: str) -> dict[str, Any] | None:
        """Return a call that was cut, with arguments that are not JSON; None for another text."""
        begun = _CALL_BEGUN.match(text)
        if begun is None or begun[1] not in self._names or from_json(text) is not NOT_JSON:
            return None
        return _to_call(begun[1], begun[2] or "{")


class PromptedStream(SchemaStream):
    """Read an answer that is a call of prompted tools, or a final text, in JSON.

    Args:
        names: The tools that may be called.
        stops: Stop texts that end the final text.
        may_repeat: Whether an answer that repeats itself is read to its end.
    """

    def __init__(
        self, names: frozenset[str], stops: Sequence[str] = (), *, may_repeat: bool = False
    ) -> None:
        super().__init__(may_repeat=may_repeat)
        self._reader = CallReader(names)
        self._stop_text = StopFilter(stops)
        self._shown = io.StringIO()
        self._ended = False

    @property
    def shown(self) -> str:
        """The final text that has come so far."""
        return self._shown.getvalue()

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is None:
            return None
        text, parts = self._reader.feed(delta.text)
        text = self._stop_text.feed(text)
        if (self._reader.repeats or self._stop_text.stopped) and not (self.left or self._ended):
            self._leave_at(delta, data)
        if delta.finish_reason and not self._ended:
            self._ended = True
            rest, more = self._reader.close(cut=delta.finish_reason in CUT)
            text += self._stop_text.feed(rest) + self._stop_text.close()
            parts += more
            if delta.finish_reason not in CUT:
                delta.finish_reason = "tool_calls" if self._reader.called else "stop"
        delta.text, delta.tool_calls = text, parts or None
        self._shown.write(text)
        return delta if delta != Delta() else None

    def _leave_at(self, delta: Delta, data: bytes) -> None:
        """End the answer with an event, although the server goes on."""
        if not delta.finish_reason:
            self._leave(delta)
            event = as_object(from_json(data))
            self.model = delta.model = event.get("model")
            delta.id = event.get("id")


_CALL_BEGUN = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"(?:\s*,\s*"arguments"\s*:\s*(.*))?', re.DOTALL
)
"""The beginning of a call in JSON, with its properties in the order of the schema."""


def _to_call(name: str, arguments: str) -> dict[str, Any]:
    return {
        "index": 0,
        "id": f"call_{uuid.uuid4().hex}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
