"""Chat requests in the form of Anthropic's messages, which every mlxcel counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import MlxcelError

__all__ = ["to_anthropic"]

Json = dict[str, Any]

_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def to_anthropic(body: Mapping[str, Any]) -> Json:
    """Return the request that becomes the same prompt.

    Args:
        body: Body of a request to ``/v1/chat/completions``.

    Raises:
        MlxcelError: A message has a part that has no such form.
    """
    first, *rest = body["messages"]
    result: Json = {"model": body["model"]}
    # Servers make it the first message again. Other system messages stay where they are.
    if first["role"] == "system" and rest:
        result["system"] = _content(first)
    else:
        rest = [first, *rest]
    result["messages"] = [_message(message) for message in rest]
    if body.get("tools"):
        result["tools"] = [_tool(tool["function"]) for tool in body["tools"]]
    if body.get("tool_choice"):
        result["tool_choice"] = _tool_choice(body["tool_choice"])
    if body.get("chat_template_kwargs"):
        result["chat_template_kwargs"] = body["chat_template_kwargs"]
    return result


def _message(message: Mapping[str, Any]) -> Json:
    if message["role"] == "tool":
        # Not joined with what the user says next: servers would put that before it.
        result = {
            "type": "tool_result",
            "tool_use_id": message.get("tool_call_id") or "",
            "content": _content(message),
        }
        return {"role": "user", "content": [result]}
    if message.get("tool_calls") or message.get("reasoning_content"):
        return {"role": message["role"], "content": list(_assistant_blocks(message))}
    return {"role": message["role"], "content": _content(message)}


def _assistant_blocks(message: Mapping[str, Any]) -> Iterator[Json]:
    if message.get("reasoning_content"):
        yield {"type": "thinking", "thinking": message["reasoning_content"], "signature": ""}
    content = _content(message)
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
            "input": _arguments(function.get("arguments")),
        }


def _arguments(text: Any) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {"": text}


def _content(message: Mapping[str, Any]) -> str | list[Json]:
    content = message.get("content")
    if isinstance(content, list):
        return [_part(part) for part in content]
    return content or ""


def _part(part: Mapping[str, Any]) -> Json:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        return {"type": "image", "source": _source(part["image_url"]["url"])}
    raise MlxcelError(
        f"This server cannot count messages with parts of the type {kind!r}: count without them, "
        "or use a newer server."
    )


def _source(url: str) -> Json:
    kind, _, data = url.partition(";base64,")
    if kind.startswith("data:"):
        return {"type": "base64", "media_type": kind.removeprefix("data:"), "data": data}
    return {"type": "url", "url": url}


def _tool(function: Mapping[str, Any]) -> Json:
    # A tool without a schema would be taken for one that the server itself has to run.
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    tool = {"name": function["name"], "input_schema": schema}
    return {**tool, "description": function["description"]} if function.get("description") else tool


def _tool_choice(choice: Any) -> Json:
    if isinstance(choice, Mapping):
        return {"type": "tool", "name": choice["function"]["name"]}
    return {"type": _CHOICES.get(choice, choice)}
