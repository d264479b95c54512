"""Chats in the form of Anthropic's messages, in which mlxcel counts their tokens exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import MlxcelError
from ..validation import JsonMapping, JsonObject, call_arguments

__all__ = ["to_anthropic"]

_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def to_anthropic(body: JsonMapping) -> JsonObject:
    """Return a request in Anthropic's form that gives the same prompt.

    Args:
        body: Body of a request to ``/v1/chat/completions``.

    Raises:
        MlxcelError: A part of a message, or a tool, cannot be expressed in this form.
    """
    first, *rest = body["messages"]
    result: JsonObject = {"model": body["model"]}
    # Servers make it the first message again. Other system messages stay in place.
    if first["role"] == "system" and rest:
        result["system"] = _anthropic_content(first)
    else:
        rest = [first, *rest]
    result["messages"] = [_anthropic_message(message) for message in rest]
    if body.get("tools"):
        result["tools"] = [_anthropic_tool(tool) for tool in body["tools"]]
    if body.get("tool_choice"):
        result["tool_choice"] = _anthropic_tool_choice(body["tool_choice"])
    if body.get("chat_template_kwargs"):
        result["chat_template_kwargs"] = body["chat_template_kwargs"]
    return result


def _anthropic_message(message: JsonMapping) -> JsonObject:
    if message["role"] == "tool":
        # Not joined with the next user message: servers would put that before the result.
        result = {
            "type": "tool_result",
            "tool_use_id": message.get("tool_call_id") or "",
            "content": _anthropic_content(message),
        }
        return {"role": "user", "content": [result]}
    if message.get("tool_calls") or message.get("reasoning_content"):
        return {"role": message["role"], "content": list(_assistant_blocks(message))}
    return {"role": message["role"], "content": _anthropic_content(message)}


def _assistant_blocks(message: JsonMapping) -> Iterator[JsonObject]:
    if message.get("reasoning_content"):
        yield {"type": "thinking", "thinking": message["reasoning_content"], "signature": ""}
    content = _anthropic_content(message)
    if isinstance(content, list):
        yield from content
    elif content:
        yield {"type": "text", "text": content}
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "tool_use",
            "id": call.get("id") or "",
            "name": function["name"],
            "input": _parsed_arguments(function.get("arguments")),
        }


def _parsed_arguments(text: Any) -> Any:
    arguments = call_arguments(text)
    return {"": text} if arguments is None else arguments


def _anthropic_content(message: JsonMapping) -> str | list[JsonObject]:
    content = message.get("content")
    if isinstance(content, list):
        return [_anthropic_part(part) for part in content]
    return content or ""


def _anthropic_part(part: JsonMapping) -> JsonObject:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        return {"type": "image", "source": _anthropic_source(part["image_url"]["url"])}
    raise MlxcelError(
        f"This server cannot count messages with parts of the type {kind!r}: count without them, "
        "or use a newer server."
    )


def _anthropic_source(url: str) -> JsonObject:
    kind, _, data = url.partition(";base64,")
    if kind.startswith("data:"):
        return {"type": "base64", "media_type": kind.removeprefix("data:"), "data": data}
    return {"type": "url", "url": url}


def _anthropic_tool(given: Any) -> JsonObject:
    function = given.get("function") if isinstance(given, Mapping) else None
    if not (isinstance(function, Mapping) and function.get("name")):
        # Servers leave it out without saying so.
        raise MlxcelError(
            "This server cannot count a tool that is not of the form "
            '{"type": "function", "function": {...}}: count without it, or use a newer server.'
        )
    # Servers would try to run a tool without a schema themselves.
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    tool = {"name": function["name"], "input_schema": schema}
    return {**tool, "description": function["description"]} if function.get("description") else tool


def _anthropic_tool_choice(choice: Any) -> JsonObject:
    if isinstance(choice, Mapping):
        return {"type": "tool", "name": choice["function"]["name"]}
    return {"type": _CHOICES.get(choice, choice)}
