"""Requests for chats: ``/v1/chat/completions``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from .arguments import whole
from .chat_streams import CallStream, ChatStream, PromptedStream, SchemaStream, ToolStream
from .features import ServerFeatures
from .headers import check_session
from .messages import Conversation
from .prompted_tools import with_prompted_tools
from .sampling import depends_on_engine, request_fields
from .smallest_answer import check_room
from .stream import DeltaStream, Request, ending, has_schema, stop_texts
from .tools import CallsInJson, with_tools

__all__ = ["chat_depends_on_server", "chat_request"]

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
    if features is not None and features.tools is False:
        return _prompted_request(model, conversation, sampling, features)
    calls = CallsInJson()
    without_tools = None
    if sampling.get("tools") is not None or sampling.get("tool_choice") is not None:
        if features is not None:
            known = dataclasses.replace(features, tools=False)
            without_tools = partial(_prompted_request, model, conversation, sampling, known)
        sampling, calls = with_tools(sampling, features)
    body = _chat_body(model, conversation, sampling, features)
    if not calls.names:
        check_room(sampling.get("response_format"), whole(body.get("max_tokens")))
    reader = _reader(body, calls, features, may_repeat=sampling.get("bounded") is False)
    session = check_session(sampling.get("session"))
    # Arguments of calls are checked by the tools.
    relaxable = bool(calls.names or sampling.get("relaxable"))
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
    reader: Callable[[], DeltaStream]
    if names:
        # They end the text of an answer, not the JSON around it.
        stops = stop_texts(body)
        body.pop("stop", None)
        reader = partial(PromptedStream, names, stops, may_repeat=may_repeat)
    else:
        check_room(sampling.get("response_format"), whole(body.get("max_tokens")))
        reader = _reader(body, CallsInJson(), features, may_repeat=may_repeat)
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
    calls: CallsInJson,
    features: ServerFeatures | None,
    *,
    may_repeat: bool,
) -> Callable[[], DeltaStream]:
    """Return a factory of readers of the answer to a request body.

    Args:
        body: The request body.
        calls: The calls that the answer may have as JSON.
        features: The server's features, None if they do not matter.
        may_repeat: Whether an answer that repeats itself is read to its end.
    """
    if calls.names:
        stream = PromptedStream if calls.several else CallStream
        return partial(stream, frozenset(calls.names), may_repeat=may_repeat)
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
