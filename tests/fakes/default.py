"""Default answers: an echo, the smallest JSON of a schema, a forced call."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

from tests.fakes.answers import Answer, Generation, Json, Turn, tool_call
from tests.fakes.prompts import content_text
from tests.fakes.schemas import goes_on, instance, requested_schema
from tests.fakes.text import pieces


def default_answer(turn: Turn) -> Answer:
    """Echo the last user message or the prompt, within `stop`, the limit and any schema."""
    body, limit = turn.body, turn.limit
    choice = forced_tool(body) if turn.generation == "newest" else None
    if choice is not None:
        arguments = instance(choice.get("parameters") or {}, choice.get("parameters") or {})
        call = tool_call({"name": choice["name"], "arguments": arguments})
        return Answer(tool_calls=[call], finish="tool_calls")
    schema = requested_schema(body)
    if schema is not None:
        return structured(schema, limit, turn.generation)
    elif turn.kind == "chat":
        users = [message for message in body["messages"] if message["role"] == "user"]
        last = (users or body["messages"])[-1]
        text = f"echo: {content_text(last.get('content'))}"
    else:
        text = f"echo: {body['prompt']}"
    # The older server takes `stop`, and does not look at it.
    stop = stops(body) if turn.generation == "newest" else []
    answer = within_limits(text, stop, limit, turn.generation)
    return dataclasses.replace(answer, text=repeated(turn) + answer.text)


EMPTY_MASK = (
    "Generation error: structured output: constrained-decoding error: structured-output matcher "
    "returned an empty mask: no token can extend the partial output without violating the schema. "
    "The model is stuck — this is usually a sign that the schema is too restrictive for the "
    "supplied prompt."
)


def structured(schema: Any, limit: int, generation: Generation) -> Answer:
    """The smallest answer that the schema accepts; what comes after it is `constrained`'s."""
    compact = (",", ":") if generation == "v0.4.2" else None
    text = json.dumps(instance(schema, schema), ensure_ascii=False, separators=compact)
    if generation == "newest":
        return within_limits(text, (), limit, generation)
    tokens = re.findall(r'\s+|[^\s"{}\[\]:,]+|.', text)
    finish = "length" if len(tokens) >= limit else "stop"
    return Answer("".join(tokens[:limit]), finish=finish, pieces=tokens[:limit])


def constrained(answer: Answer, turn: Turn) -> Answer:
    """The answer as the older server ends it when the request has a schema.

    Its grammar knows no end. After JSON that is whole it fails, or goes on with what the grammar
    still allows: more digits of a number, white space after an object that is not closed.
    """
    schema = requested_schema(turn.body)
    tokens = answer.tokens
    if turn.generation == "newest" or schema is None or answer.finish != "stop":
        return answer
    try:
        value = json.loads(answer.text)
    except ValueError:
        return answer
    more = "1" if is_number(value) and goes_on(schema, schema) else " " * goes_on(schema, schema)
    if not more:
        return dataclasses.replace(answer, finish="error", failure=EMPTY_MASK)
    limit = turn.limit - len(tokens)
    return dataclasses.replace(
        answer,
        text=answer.text + more * limit,
        pieces=[*tokens, *[more] * limit],
        finish="length",
    )


def repeated(turn: Turn) -> str:
    """The beginning of the answer that the request gave, if it wants to see it again."""
    if turn.generation == "v0.4.2" or not turn.body.get("echo") or turn.kind != "chat":
        return ""
    last = turn.body["messages"][-1]
    return content_text(last.get("content")) if last["role"] == "assistant" else ""


def within_limits(text: str, stop: Sequence[str], limit: int, generation: Generation) -> Answer:
    words = pieces(text)
    shown = "".join(words[:limit])
    found = [shown.index(word) for word in stop if word and word in shown]
    if found:
        return Answer(shown[: min(found)])
    # The older server calls an answer of exactly `limit` tokens cut as well.
    cut = len(words) > limit or (generation == "v0.4.2" and len(words) == limit)
    return Answer(shown, finish="length" if cut else "stop")


def stops(body: Json) -> list[str]:
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else stop


def forced_tool(body: Json) -> Json | None:
    """The function that `tool_choice` forces a call of."""
    functions: list[Json] = [tool["function"] for tool in body.get("tools") or []]
    choice = body.get("tool_choice")
    if choice == "required":
        return functions[0]
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        return next(function for function in functions if function["name"] == name)
    return None


def limited(answer: Answer, turn: Turn) -> Answer:
    """The tokens of a model up to the limit; an answer of exactly as many is called cut too."""
    limit = max(turn.limit, 1)
    if answer.raw is None or len(answer.raw) < limit:
        return answer
    return dataclasses.replace(answer, raw=answer.raw[:limit], finish="length")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
