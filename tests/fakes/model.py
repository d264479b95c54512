"""A model for the fake server that understands a few questions and calls tools for them."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.fakes.answers import Json
from tests.fakes.prompts import content_text
from tests.fakes.replies import Reply
from tests.fakes.schemas import instance

# What is asked -> the tool, and its arguments; "$1" stands for what the question names.
QUESTIONS: dict[str, tuple[str, Json]] = {
    r"magic_function\((\d)\)": ("magic_function", {"input": "$1"}),
    r"magic_function_no_args\(\)": ("magic_function_no_args", {}),
    r"a (\w+) greeting": ("greeting_generator", {"answer_style": "$1"}),
    r"weather in ([\w ]+)": ("get_weather", {"location": "$1"}),
    r"customer named '(.+?)'": ("unicode_customer", {"customer_name": "$1", "description": "x"}),
    r"What is (\d) \+ \d": ("my_adder_tool", {"a": "$1", "b": 4}),
}


def capable(body: Json) -> Reply | None:
    """Answer as a model that was trained for tools does, on a server that enforces schemas only."""
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    last = body["messages"][-1]
    constrained = (body.get("response_format") or {}).get("type") == "json_schema"
    if not tools or (last["role"] == "tool" and not constrained):
        return None
    call = wanted_call(content_text(last.get("content")), tools)
    if call is None and constrained:
        function = next(iter(tools.values()))
        call = {"name": function["name"], "arguments": some_arguments(function)}
    if call is None:
        return None
    if constrained:
        return Reply.text(json.dumps(call, ensure_ascii=False))
    return Reply.text("", tool_calls=[call])


def wanted_call(question: str, tools: dict[str, Json]) -> Json | None:
    for pattern, (name, arguments) in QUESTIONS.items():
        found = re.search(pattern, question)
        if found and name in tools:
            given = {
                key: as_value(found[1]) if value == "$1" else value
                for key, value in arguments.items()
            }
            return {"name": name, "arguments": given}
    return None


def as_value(text: str) -> Any:
    return int(text) if text.isdigit() else text


def some_arguments(function: Json) -> Any:
    schema = function.get("parameters") or {"type": "object"}
    return instance(schema, schema)
