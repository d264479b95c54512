"""Requests for chats: ``/v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .answers.chat_streams import ChatStream, SchemaStream, ToolStream
from .answers.stream import DeltaStream
from .arguments import whole
from .generation_request import Check, Request, reader_factory, stop_texts
from .messages import Conversation
from .sampling import asks_for_thinking, depends_on_engine, has_schema, request_fields
from .schemas.schema_use import EXACT

if TYPE_CHECKING:
    from .features import ServerFeatures
    from .tools.request_fields import CallsInJson

__all__ = ["chat_depends_on_server", "chat_request"]

CHAT_ROUTE = "/v1/chat/completions"


def chat_request(
    model: str,
    conversation: Conversation,
    sampling: Mapping[str, Any],
    features: ServerFeatures | None = None,
    check: Check | None = None,
) -> Request:
    """Ask for the next turn of a conversation.

    Args:
        model: Name of the served model.
        conversation: The messages.
        sampling: Sampling fields; None values are left to the server.
        features: The server's features, None if they do not matter.
        check: Checks JSON after which its generation failed.

    Raises:
        MlxcelError: No server accepts a part of a message, or a field.
    """
    if conversation.media:
        conversation.check_media(features)
    use = sampling.get("schema_use") or EXACT
    if use.relaxable:
        check = None  # the caller checks the whole answer
    if features is not None and features.tools is False:
        return _prompted_request(model, conversation, sampling, features, check)
    calls, without_tools = None, None
    if sampling.get("tools") is not None or sampling.get("tool_choice") is not None:
        if features is not None:
            known = features.without_tools()
            without_tools = partial(_prompted_request, model, conversation, sampling, known, check)
        # Imported here, like other modules about tools and schemas: most chats have neither.
        from .tools.request_fields import with_tools

        sampling, calls = with_tools(sampling, features)
        if features is not None and features.engine == "llama.cpp" and sampling.get("tools"):
            from .tools.call_schemas import compilable

            sampling = {**sampling, "tools": compilable(sampling["tools"])}
    body = _chat_body(model, conversation, sampling, features)
    follows_schema = has_schema(body)
    return Request(
        CHAT_ROUTE,
        body,
        _reader(body, follows_schema, sampling, calls, features),
        sampling.get("session"),
        # Arguments of calls are checked by the tools.
        relaxable=bool(calls or use.relaxable),
        without_tools=without_tools,
        thinks_first=bool(follows_schema or without_tools) and asks_for_thinking(body),
        check=check,
    )


def _prompted_request(
    model: str,
    conversation: Conversation,
    sampling: Mapping[str, Any],
    features: ServerFeatures,
    check: Check | None,
) -> Request:
    """Ask for the next turn of a conversation where the chat template knows no tools."""
    from .tools.call_streams import PromptedStream
    from .tools.prompted_tools import with_prompted_tools

    use = sampling.get("schema_use") or EXACT
    conversation, sampling, names, required = with_prompted_tools(conversation, sampling)
    body = _chat_body(model, conversation, sampling, features)
    may_repeat, follows_schema = sampling.get("bounded") is False, has_schema(body)
    reader: Callable[[], DeltaStream]
    if names:
        # They end the text of an answer, not the JSON around it, so the server gets none.
        stops = stop_texts({**sampling, **body})
        body.pop("stop", None)
        reader = partial(PromptedStream, names, stops, required=required, may_repeat=may_repeat)
    else:
        reader = _reader(body, follows_schema, sampling, None, features)
    return Request(
        CHAT_ROUTE,
        body,
        reader,
        sampling.get("session"),
        relaxable=bool(names or use.relaxable),
        thinks_first=follows_schema and asks_for_thinking(body),
        check=check,
    )


def _chat_body(
    model: str,
    conversation: Conversation,
    sampling: Mapping[str, Any],
    features: ServerFeatures | None,
) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": conversation.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        **request_fields(sampling, features.engine if features else None),
    }
    if sampling.get("response_format") is not None:
        from .schemas.smallest_answer import check_room

        # What is in ``extra_body`` is sent unchecked.
        check_room(sampling["response_format"], whole(body.get("max_tokens")))
    return body


def _reader(
    body: Mapping[str, Any],
    follows_schema: bool,
    sampling: Mapping[str, Any],
    calls: CallsInJson | None,
    features: ServerFeatures | None,
) -> Callable[[], DeltaStream]:
    """Return a factory of readers of the answer to a request body.

    Args:
        body: The request body.
        follows_schema: Whether the answer follows a schema.
        sampling: The fields that the body was made of.
        calls: The calls that the answer may have as JSON, None if it has none.
        features: The server's features, None if they do not matter.
    """
    use = sampling.get("schema_use") or EXACT
    may_repeat, must_end = sampling.get("bounded") is False, not use.relaxable
    if calls is not None:
        from .tools.call_streams import CallStream, PromptedStream

        names = frozenset(calls.names)
        if calls.several:
            return partial(PromptedStream, names, required=True, may_repeat=may_repeat)
        return partial(
            CallStream, names, required=calls.required, may_repeat=may_repeat, must_end=must_end
        )
    if follows_schema:
        return partial(SchemaStream, may_repeat=may_repeat, must_end=must_end)
    may_call = body.get("tools") and body.get("tool_choice") != "none"
    # A stop text at its beginning leaves nothing of an answer.
    may_be_empty = body.get("stop") and features is not None and features.stops
    stream: Callable[..., DeltaStream] = ChatStream
    if may_call and not may_be_empty:
        drops_calls = features is not None and features.drops_calls
        stream = partial(ToolStream, drops_calls=drops_calls)
    return reader_factory(stream, body) if body.get("stop") else stream


def chat_depends_on_server(conversation: Conversation, sampling: Mapping[str, Any]) -> bool:
    """Return whether a request depends on the features of the server."""
    if sampling.get("tools") or conversation.has_calls or conversation.media:
        return True
    return depends_on_engine(sampling)
