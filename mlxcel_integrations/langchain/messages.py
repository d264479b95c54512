"""LangChain's messages to OpenAI's: pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
)

from ..errors import MlxcelError

__all__ = ["to_openai_messages"]

_ROLES: dict[type, str] = {HumanMessage: "user", SystemMessage: "system", AIMessage: "assistant"}


def to_openai_messages(
    messages: Sequence[BaseMessage], *, reasoning: bool = True, urls: bool = False
) -> list[dict[str, Any]]:
    """Return OpenAI messages.

    Args:
        messages: A conversation.
        reasoning: Whether the model is sent its earlier thinking.
        urls: Whether images, sound and video may be sent as addresses instead of data.

    Raises:
        MlxcelError: A message cannot be expressed.
    """
    result: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        plain = _plain(message)
        if plain:
            result.append(plain)
            continue
        converted = _converted(index, message, reasoning)
        for one in converted:
            _set_media(index, one, urls)
        result.extend(converted)
    return result


def _plain(message: BaseMessage) -> dict[str, Any] | None:
    """Translate a message of plain text, as most are, at a tenth of the usual cost."""
    role = _ROLES.get(type(message))
    if role is None or not isinstance(message.content, str):
        return None
    if message.name or message.additional_kwargs:
        return None
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        return None
    return {"role": role, "content": message.content}


def _converted(index: int, message: BaseMessage, reasoning: bool) -> list[dict[str, Any]]:
    """Translate any message; one that holds the results of several tools becomes several."""
    try:
        if isinstance(message, AIMessage):
            return [_assistant(message, reasoning)]
        converted: list[dict[str, Any]] = convert_to_openai_messages([_with_videos(message)])
    except (ValueError, KeyError) as error:
        # LangChain's text ends with the whole block, which may hold megabytes of data.
        reason = str(error).partition(" Full content block")[0].rstrip(".")
        raise MlxcelError(
            f"messages[{index}] cannot be sent: {reason}. Pass text, or a block with its data, "
            'such as {"type": "image", "base64": ..., "mime_type": "image/png"}.'
        ) from error
    if isinstance(message, ToolMessage) and message.status == "error":
        converted[0]["content"] = _as_error(converted[0]["content"])
    return converted


def _assistant(message: AIMessage, reasoning: bool) -> dict[str, Any]:
    content = [block for block in _blocks(message) if block.get("type") not in _NOT_CONTENT]
    (converted,) = convert_to_openai_messages([message.model_copy(update={"content": content})])
    result = dict(converted)
    if message.invalid_tool_calls:
        result["tool_calls"] = [
            *result.get("tool_calls", ()),
            *map(_invalid_call, message.invalid_tool_calls),
        ]
    thoughts = _thoughts(message) if reasoning else ""
    if thoughts:
        # Chat templates read this name.
        result["reasoning_content"] = thoughts
    return result


_THOUGHTS = {"reasoning": "reasoning", "thinking": "thinking"}
_NOT_CONTENT = {*_THOUGHTS, "tool_call", "tool_call_chunk", "invalid_tool_call"}
"""Blocks that OpenAI's content does not hold; calls are in fields of the message, too."""


def _blocks(message: AIMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [
        {"type": "text", "text": block} if isinstance(block, str) else block
        for block in message.content
    ]


def _thoughts(message: AIMessage) -> str:
    known: str = message.additional_kwargs.get("reasoning_content") or ""
    return known or "".join(
        block.get(_THOUGHTS[block["type"]]) or ""
        for block in _blocks(message)
        if block.get("type") in _THOUGHTS
    )


def _invalid_call(call: InvalidToolCall) -> dict[str, Any]:
    # llama.cpp answers 500 to arguments that are not JSON, so these are sent as a JSON string.
    function = {"name": call["name"] or "", "arguments": json.dumps(call["args"] or "")}
    return {"type": "function", "id": call["id"] or "", "function": function}


def _as_error(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Mark the result of a tool as an error, for which OpenAI's messages have no field."""
    if isinstance(content, list):
        return [{"type": "text", "text": "Error:"}, *content]
    return content if content.lower().startswith("error") else f"Error: {content}"


def _with_videos(message: BaseMessage) -> BaseMessage:
    """Translate video blocks, which OpenAI's content does not have."""
    if isinstance(message.content, str):
        return message
    content = [
        _video(block) if isinstance(block, dict) and block.get("type") == "video" else block
        for block in message.content
    ]
    return message.model_copy(update={"content": content})


def _video(block: dict[str, Any]) -> dict[str, Any]:
    url = block.get("url")
    if block.get("base64"):
        url = f"data:{block.get('mime_type') or 'video/mp4'};base64,{block['base64']}"
    return {"type": "video_url", "video_url": {"url": url or ""}}


def _set_media(index: int, message: dict[str, Any], urls: bool) -> None:
    """Bring images and videos to the form that servers accept."""
    content = message["content"]
    for position, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type")
        if kind not in ("image_url", "video_url"):
            continue
        if isinstance(part[kind], str):
            part = content[position] = {"type": kind, kind: {"url": part[kind]}}
        address = str(part[kind].get("url") or "")
        if not (urls or address.startswith("data:")):
            raise MlxcelError(
                f"messages[{index}].content[{position}] is the address {address!r}, which the "
                "server would read with its own rights. Pass the data in base64, or allow "
                "addresses with send_urls=True."
            )
