"""A model for the fake server that reads tools in its last message, and calls them in JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator

from tests.fakes.answers import Json
from tests.fakes.prompts import content_text
from tests.fakes.replies import Reply
from tests.fakes.schemas import requested_schema

QUESTION = re.compile(r"What is \((\d+) \+ (\d+)\) \* (\d+)\?")
RESULT = re.compile(r"Result of (\w+):\n(-?\d+)")


def arithmetic(body: Json) -> Reply | None:
    """Answer a question like "What is (1 + 2) * 3?" in three steps: two calls and a text."""
    schema = requested_schema(body)
    text = "\n".join(content_text(message.get("content")) for message in body["messages"])
    asked = list(QUESTION.finditer(text))
    if schema is None or not asked:
        return None
    results = dict(RESULT.findall(text, asked[-1].start()))
    a, b, c = map(int, asked[-1].groups())
    if "add" not in results:
        answer: Any = {"name": "add", "arguments": {"a": a, "b": b}}
    elif "multiply" not in results:
        answer = {"name": "multiply", "arguments": {"a": int(results["add"]), "b": c}}
    else:
        answer = {"answer": f"It is {results['multiply']}."}
    if "calls" in schema.get("properties", {}) or "calls" in str(schema.get("anyOf")):
        answer = {"calls": [answer]} if "name" in answer else answer
    # A server that enforces the schema could not write anything else.
    assert Draft202012Validator(schema).is_valid(answer), (schema, answer)
    return Reply.text(json.dumps(answer))
