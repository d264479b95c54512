"""Anthropic's messages as the server reads them: into the messages of a chat."""

from __future__ import annotations

import json

from tests.fakes.answers import Json
from tests.fakes.prompts import content_text


def from_anthropic(body: Json) -> Json:
    """Return the chat body; other fields, template variables too, are dropped."""
    system = content_text(body.get("system"))
    messages: list[Json] = [{"role": "system", "content": system}] if system else []
    for message in body["messages"]:
        messages += from_message(message)
    tools = [from_tool(tool) for tool in body.get("tools") or () if "input_schema" in tool]
    offered = (body.get("tool_choice") or {}).get("type") != "none"
    return {"messages": messages, "tools": tools if offered else []}


def from_message(message: Json) -> list[Json]:
    """The message, unless it has nothing but results, and after it each result on its own."""
    content = message["content"]
    if isinstance(content, str):
        return [message]
    texts = [block["text"] for block in content if block["type"] == "text"]
    images = [from_image(block["source"]) for block in content if block["type"] == "image"]
    calls = [from_call(block) for block in content if block["type"] == "tool_use"]
    results = [from_result(block) for block in content if block["type"] == "tool_result"]
    if not texts and not images and not calls and results:
        return results
    text = "\n".join(texts)
    whole = [{"type": "text", "text": text}, *images] if images else text
    return [{"role": message["role"], "content": whole, "tool_calls": calls}, *results]


def from_image(source: Json) -> Json:
    url = source.get("url") or f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "image_url", "image_url": {"url": url}}


def from_call(block: Json) -> Json:
    arguments = json.dumps(block["input"])
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block["id"], "type": "function", "function": function}


def from_result(block: Json) -> Json:
    content = content_text(block["content"])
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}


def from_tool(tool: Json) -> Json:
    function = {
        "name": tool["name"],
        "description": tool.get("description"),
        "parameters": tool["input_schema"],
    }
    return {"type": "function", "function": function}
