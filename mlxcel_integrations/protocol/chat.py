"""Chat: ``/v1/chat/completions``."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from .features import ServerFeatures
from .headers import check_session
from .messages import Conversation
from .sampling import depends_on_engine, request_fields
from .stream import Delta, DeltaStream, Request
from .tools import with_tools

__all__ = [
    "CallStream",
    "ChatStream",
    "SchemaStream",
    "chat_depends_on_server",
    "chat_request",
]

ROUTE = "/v1/chat/completions"


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
    stream: Callable[[], DeltaStream] = SchemaStream if _has_schema(sampling) else ChatStream
    if sampling.get("tools") is not None or sampling.get("tool_choice") is not None:
        sampling, names = with_tools(sampling, features)
        if names:
            stream = functools.partial(CallStream, frozenset(names))
    body = {
        "model": model,
        "messages": conversation.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        **request_fields(sampling, features.engine if features else None),
    }
    return Request(ROUTE, body, stream, check_session(sampling.get("session")))


def _has_schema(sampling: Mapping[str, Any]) -> bool:
    wanted = sampling.get("response_format")
    return isinstance(wanted, Mapping) and wanted.get("type") == "json_schema"


def chat_depends_on_server(conversation: Conversation, sampling: Mapping[str, Any]) -> bool:
    """Tell whether a request depends on the features of the server."""
    return bool(sampling.get("tools")) or depends_on_engine(sampling) or bool(conversation.media)


class ChatStream(DeltaStream):
    """Read a streamed chat answer."""

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        part = choice["delta"]
        delta = Delta(part.get("content") or "")
        # Servers name the thinking text one way or the other; some send it under both names.
        reasoning = part.get("reasoning_content") or part.get("reasoning")
        if reasoning:
            delta.reasoning = reasoning
        if part.get("tool_calls"):
            delta.tool_calls = part["tool_calls"]
        if choice.get("finish_reason"):
            delta.finish_reason = choice["finish_reason"]
        if choice.get("logprobs"):
            delta.logprobs = choice["logprobs"]
        return delta


class SchemaStream(ChatStream):
    """Read an answer that keeps to a schema.

    A model whose prompt ends in an open ``<think>`` writes its JSON where its thoughts belong:
    it becomes the text at its end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thoughts: list[str] = []

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        delta = super()._read_choice(choice)
        if delta.reasoning:
            self._thoughts.append(delta.reasoning)
        if delta.finish_reason and self._thoughts and not (self.text + delta.text).strip():
            thoughts = "".join(self._thoughts)
            if thoughts.lstrip().startswith(("{", "[")):
                delta.text = thoughts
        return delta


class CallStream(SchemaStream):
    """Read an answer that is a tool call in JSON, or an answer beside which one was allowed.

    What it is shows at its end, as mlxcel's own tool calls do. One that was cut short stays text:
    with its JSON repaired it could be mistaken for a call that the model has made.

    Args:
        names: The tools that may be called.
    """

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names
        self._held: list[str] = []
        self._called = False

    @property
    def text(self) -> str:
        """The text that has come so far, whatever it will turn out to be."""
        return "".join(self._held)

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        delta = super()._read_choice(choice)
        if not isinstance(delta.text, str):
            raise TypeError
        self._held.append(delta.text)
        self._called = self._called or bool(delta.tool_calls)
        delta.text = ""
        if delta.finish_reason and not self._finished:
            call = None if self._called else self._call(self.text)
            if call is None:
                delta.text = self.text
            else:
                delta.tool_calls, delta.finish_reason = [call], "tool_calls"
        return delta

    def _call(self, text: str) -> dict[str, Any] | None:
        try:
            call = json.loads(text)
            arguments = json.dumps(call["arguments"], ensure_ascii=False)
        except (ValueError, RecursionError, TypeError, KeyError):
            return None
        if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
            return None
        if not (isinstance(call["name"], str) and isinstance(call["arguments"], dict)):
            return None
        if call["name"] not in self._names:
            return None
        return {
            "index": 0,
            "id": f"call_{uuid.uuid4().hex}",
            "type": "function",
            "function": {"name": call["name"], "arguments": arguments},
        }
