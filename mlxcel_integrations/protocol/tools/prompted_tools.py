"""Prompted tools: for models whose chat template knows none.

The last message describes the tools, and the answer is JSON: a call of one of them, several calls,
or a text. In a conversation, earlier calls and their results are given as plain messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..messages import Conversation, Message, with_text, with_text_at_end
from ..sampling import without_thinking
from ..schemas.json_schema import JsonSchema, check_schema_size, compact, mapped
from ..validation import call_arguments
from .call_schemas import CallSchemas, any_of, list_of, object_of
from .request_fields import FREE_CHOICES, Tools, answer_schema, named, take_tools

__all__ = ["with_prompted_tools"]

SHOWN_KEYWORDS = ("title", "description", "default", "examples", "$comment")
"""Keywords that the model reads in the message, and that forbid nothing."""


def with_prompted_tools(
    conversation: Conversation, sampling: Mapping[str, Any]
) -> tuple[Conversation, dict[str, Any], frozenset[str], bool]:
    """Return a request with tools as one without tools, whose answer may be a call in JSON.

    Args:
        conversation: The messages.
        sampling: The fields of the request.

    Returns:
        The messages, the fields, the names of tools that the answer may call, and whether it must
        be a call.

    Raises:
        MlxcelError: A tool, its schema or the choice is wrong.
    """
    fields = dict(sampling)
    tools, choice = take_tools(fields)
    several = bool(fields.pop("parallel_tool_calls", None)) and not isinstance(choice, Mapping)
    messages: Sequence[Message] = conversation.messages
    if conversation.has_calls:
        messages = _without_calls(messages)
    if isinstance(choice, Mapping):
        tools = named(tools, choice)
    if not tools or choice == "none":
        return conversation._replace(messages=list(messages)), fields, frozenset(), False
    answer = answer_schema(fields)
    may_answer = choice in FREE_CHOICES
    fields["response_format"] = _answer_format(
        tools, answer, several=several, may_answer=may_answer
    )
    text = _tools_text(tools, answer, several=several, may_answer=may_answer)
    messages = with_text_at_end(messages, text)
    names = frozenset(tool["function"]["name"] for tool in tools)
    conversation = conversation._replace(messages=list(messages))
    return conversation, without_thinking(fields), names, not may_answer


# --------------------------------------------------------------------------- requests


def _answer_format(
    tools: Tools, answer: Mapping[str, Any] | None, *, several: bool, may_answer: bool
) -> dict[str, Any]:
    """Return the ``response_format`` of calls, and of a final answer if there may be one."""
    schemas = CallSchemas()
    call = any_of([schemas.call(_unannotated(tool["function"])) for tool in tools])
    if several:
        call = list_of(call)
    forms = call.get("anyOf") or [call]
    if may_answer:
        schema = {"type": "string"} if answer is None else schemas.placed(answer)
        forms = [*forms, object_of(answer=schema)]
    return schemas.response_format(any_of(forms))


def _unannotated(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function whose parameters have no annotations."""
    parameters = function.get("parameters") or {}
    check_schema_size(parameters)  # first, since the rest recurses as deep
    return {**function, "parameters": _without_annotations(parameters)}


def _without_annotations(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept: JsonSchema = {name: part for name, part in schema.items() if name not in SHOWN_KEYWORDS}
    return mapped(kept, _without_annotations)


def _tools_text(
    tools: Tools, answer: Mapping[str, Any] | None, *, several: bool, may_answer: bool
) -> str:
    """Return the text that shows the tools to the model, and the forms of its answer."""
    shown = ("name", "description", "parameters")
    functions = [
        compact({name: tool["function"][name] for name in shown if tool["function"].get(name)})
        for tool in tools
    ]
    lines = ["Tools:", *functions, "", "Reply with JSON. To call a tool:", CALL_FORM]
    if several:
        lines[-2:] = ["Reply with JSON. To call one or more tools:", CALLS_FORM]
    if may_answer:
        lines += ["To answer without another call:", TEXT_FORM if answer is None else OBJECT_FORM]
    return "\n".join(lines)


CALL_FORM = '{"name": <name of the tool>, "arguments": <object that fits its parameters>}'
CALLS_FORM = '{"calls": [' + CALL_FORM + ", ...]}"
TEXT_FORM = '{"answer": <text>}'
OBJECT_FORM = '{"answer": <JSON that fits the schema of the answer>}'


# --------------------------------------------------------------------------- conversations


def _without_calls(messages: Sequence[Message]) -> list[Message]:
    """Return messages with calls as JSON in their text, and results as messages of the user."""
    calls: dict[Any, str] = {}
    result = []
    for message in messages:
        if message["role"] == "tool":
            call = calls.get(message.get("tool_call_id")) or str(message.get("name") or "a tool")
            result.append(_result_as_text(message, call))
        elif message["role"] == "assistant" and message.get("tool_calls"):
            calls |= {call.get("id"): _function_name(call) for call in message["tool_calls"]}
            result.append(_with_calls_as_text(message))
        else:
            result.append(message)
    return result


def _result_as_text(message: Message, call: str) -> Message:
    """Return the result of a call as a message of the user."""
    content, before = message.get("content"), f"Result of {call}:"
    if not isinstance(content, list):
        return {"role": "user", "content": f"{before}\n{content or ''}"}
    first = content[0] if content else None
    if isinstance(first, Mapping) and first.get("type") == "text":
        text = {**first, "text": f"{before}\n{first.get('text') or ''}"}
        return {"role": "user", "content": [text, *content[1:]]}
    return {"role": "user", "content": [{"type": "text", "text": before}, *content]}


def _with_calls_as_text(message: Message) -> Message:
    """Return a message whose calls stand in its text, as the model would write them now."""
    calls = [
        {"name": _function_name(call), "arguments": _call_arguments(call)}
        for call in message["tool_calls"]
    ]
    text = compact(calls[0] if len(calls) == 1 else {"calls": calls})
    kept = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**kept, "content": with_text(message.get("content"), text)}


def _function_name(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    return str(function.get("name") or "") if isinstance(function, Mapping) else ""


def _call_arguments(call: Mapping[str, Any]) -> Any:
    """Return the arguments of a call: an object, or the text if it is not the JSON of one."""
    function = call.get("function")
    text = function.get("arguments") if isinstance(function, Mapping) else None
    value = call_arguments(text) if isinstance(text, str) else {}
    return text if value is None else value
