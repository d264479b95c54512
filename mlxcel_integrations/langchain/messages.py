"""Translation of LangChain's messages into OpenAI's: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from ..errors import MlxcelError
from ..protocol.tools.tool_calls import tool_call
from ..protocol.validation import JsonObject
from .message_content import Content, as_error

__all__ = ["to_openai_messages"]


_ROLES: dict[type, str] = {HumanMessage: "user", SystemMessage: "system", AIMessage: "assistant"}


def to_openai_messages(
    messages: Sequence[BaseMessage], *, reasoning: bool = True, urls: bool = False
) -> list[JsonObject]:
    """Return OpenAI messages.

    Args:
        messages: A conversation, which another provider may have begun.
        reasoning: Whether to send the model its earlier thinking.
        urls: Whether images, sound and video may be sent as addresses instead of data.

    Raises:
        MlxcelError: A message cannot be expressed.
    """
    result: list[JsonObject] = []
    for index, message in enumerate(messages):
        plain = _plain_message(message)
        if plain:
            result.append(plain)
        else:
            result.extend(_converted(index, message, reasoning, urls))
    return result


def _plain_message(message: BaseMessage) -> JsonObject | None:
    """Translate a message of plain text, as most are, at a tenth of the usual cost."""
    role = _ROLES.get(type(message))
    if role is None or not isinstance(message.content, str):
        return None
    if message.name or message.additional_kwargs:
        return None
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        return None
    return {"role": role, "content": message.content}


def _converted(index: int, message: BaseMessage, reasoning: bool, urls: bool) -> list[JsonObject]:
    """Translate any message; the results of several tools become several messages."""
    place = f"messages[{index}]"
    result: JsonObject = {"role": _role(place, message)}
    if message.name:
        result["name"] = message.name
    content = Content(result["role"] == "assistant", urls)
    content.read(message.content, f"{place}.content")
    if isinstance(message, AIMessage):
        return [result | _answer_fields(place, message, content, reasoning)]
    if content.results and not content.parts:
        return content.results
    if isinstance(message, ToolMessage):
        result["tool_call_id"] = message.tool_call_id
    elif isinstance(message, FunctionMessage):
        result["tool_call_id"] = ""
    failed = isinstance(message, ToolMessage) and message.status == "error"
    result["content"] = as_error(content.joined()) if failed else content.joined()
    return [*content.results, result]


def _role(place: str, message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    for kind, role in _ROLES.items():
        if isinstance(message, kind):
            return role
    if isinstance(message, ToolMessage | FunctionMessage):
        return "tool"
    raise MlxcelError(
        f"{place} is {type(message).__name__}, which is not a part of a conversation: pass "
        "HumanMessage, AIMessage, SystemMessage or ToolMessage."
    )


def _answer_fields(place: str, message: AIMessage, content: Content, reasoning: bool) -> JsonObject:
    """Return the fields of a message from any model."""
    more = message.additional_kwargs
    if more.get("refusal") and not content.has_refusal:
        content.read({"type": "refusal", "refusal": more["refusal"]}, f"{place}.additional_kwargs")
    spoken = more.get("audio")
    if isinstance(spoken, Mapping) and not content.parts:
        content.add_text(str(spoken.get("transcript") or ""))
    fields: JsonObject = {"content": content.joined()}
    calls = _calls(place, message, content.calls)
    if calls:
        fields["tool_calls"] = calls
    thoughts = _thoughts(place, more) or "".join(content.thoughts)
    if thoughts and reasoning:
        # Chat templates read thoughts under this name.
        fields["reasoning_content"] = thoughts
    return fields


def _thoughts(place: str, more: Mapping[str, Any]) -> str:
    """Return the thoughts that some providers keep beside the content."""
    for name in ("reasoning_content", "reasoning"):
        if more.get(name):
            block = more[name] if isinstance(more[name], Mapping) else {"reasoning": more[name]}
            beside = Content(is_answer=True, urls=False)
            beside.read({**block, "type": "reasoning"}, f"{place}.additional_kwargs[{name!r}]")
            return "".join(beside.thoughts)
    return ""


def _calls(place: str, message: AIMessage, in_content: Iterable[JsonObject]) -> list[JsonObject]:
    """Return each call once; many providers keep the same call in several places."""
    given: list[Any] = [*message.tool_calls, *message.invalid_tool_calls]
    try:
        calls = [tool_call(call["name"], call["args"], call["id"]) for call in given]
        known = {call["id"] for call in calls}
        for call in in_content:
            # Without an id, a call cannot be compared with the known ones.
            if call["id"] not in known if call["id"] else not given:
                known.add(call["id"])
                calls.append(call)
        legacy = message.additional_kwargs.get("function_call")
        if isinstance(legacy, Mapping) and not calls:
            calls.append(tool_call(legacy.get("name"), legacy.get("arguments"), None))
    except (ValueError, TypeError, RecursionError) as error:
        raise MlxcelError(
            f"{place} has a tool call whose arguments cannot be written as JSON: {error}."
        ) from error
    return calls
