"""Messages for strict chat templates: roles are joined or moved, and ids of calls shortened.

Some templates raise an error unless user and assistant take turns, some know no system role, and
those of Mistral want ids of nine letters and digits. Servers pass the error on. mlxcel up to v0.4.2
answers nevertheless, from a prompt that it makes up. For templates without tools see
``prompted_tools``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .failures import ROLES_REFUSED, Failure
from .messages import Message
from .validation import error_text

__all__ = ["Roles", "merged", "refuses_ids", "refuses_roles", "refuses_tools"]

AS_GIVEN, JOINED, WITHOUT_SYSTEM = range(3)
"""Ways to send messages, in the order in which they are tried."""

_NO_SYSTEM = r"(?i)system (role|message|prompt)s? (is |are )?(not|un)|only user and assistant"

_REFUSED = (400, 422, 500)

_TOOLS_REFUSED = (400, 404, 422, 500, 501)
"""Statuses of a request whose tools a server or its chat template does not know."""

_ABOUT_TOOLS = (
    r"(?i)(not|n't) support(ed by)?\b.{0,40}\b(tools?|functions?)\b"
    r"|\b(tools?|functions?)\b.{0,40}\b(not supported|unsupported)"
    r"|\b(tools?|tool.choice)\b.{0,20}\brequires?\b.{0,3}--"
)
"""What servers say about tools that they do not know, or that a flag switches on."""

_IDS_REFUSED = r"(?i)tool call ids? should be alphanumeric"


def refuses_roles(failure: Failure) -> bool:
    """Return whether a chat template has refused the roles of messages."""
    text = error_text(failure.body)
    return failure.status in _REFUSED and re.search(ROLES_REFUSED, text) is not None


def refuses_ids(failure: Failure) -> bool:
    """Return whether a chat template has refused the ids of tool calls."""
    return failure.status in _REFUSED and bool(re.search(_IDS_REFUSED, error_text(failure.body)))


def refuses_tools(failure: Failure) -> bool:
    """Return whether a server refused a request because it knows no tools."""
    text = error_text(failure.body)
    return failure.status in _TOOLS_REFUSED and re.search(_ABOUT_TOOLS, text) is not None


class Roles:
    """What is known about the messages that the chat template of one server accepts.

    Args:
        merge: Whether to merge messages from the start; None to merge them once the server has
            refused them, False to never merge them.

    Attributes:
        level: How messages are sent.
        short_ids: Whether tool calls are sent with ids of nine letters and digits.
    """

    def __init__(self, merge: bool | None = None) -> None:
        self._merge = merge
        self.forget()

    def forget(self) -> None:
        """Forget what is known: another server answers now."""
        self.level = WITHOUT_SYSTEM if self._merge else AS_GIVEN
        self.short_ids = False

    def fit(
        self, body: Mapping[str, Any], level: int, *, short_ids: bool = False
    ) -> Mapping[str, Any]:
        """Return a request body with its messages, if it has any, as the template needs them."""
        if "messages" not in body or (level == AS_GIVEN and not short_ids):
            return body
        messages = body["messages"]
        if short_ids:
            messages = _with_short_ids(messages)
        if level != AS_GIVEN:
            messages = merged(messages, level)
        return {**body, "messages": messages}

    def template_failed(self, reason: str) -> None:
        """Learn from a failure that mlxcel up to v0.4.2 only logs: later requests are merged."""
        if self._merge is None and re.search(ROLES_REFUSED, reason):
            self.level = WITHOUT_SYSTEM
        if re.search(_IDS_REFUSED, reason):
            self.short_ids = True

    def after_refusal(self, failure: Failure, body: Mapping[str, Any], level: int) -> int | None:
        """Return the level at which to send a refused request again, None if that is useless.

        Args:
            failure: The answer.
            body: Body of the request with its messages as given.
            level: The level at which it was sent.
        """
        if self._merge is False or "messages" not in body or not refuses_roles(failure):
            return None
        no_system = re.search(_NO_SYSTEM, error_text(failure.body))
        before = self.fit(body, level)
        for higher in range(WITHOUT_SYSTEM if no_system else level + 1, WITHOUT_SYSTEM + 1):
            if higher > level and self.fit(body, higher)["messages"] != before["messages"]:
                return higher
        return None


def merged(messages: Sequence[Message], level: int) -> list[Message]:
    """Return messages of which no two in a row have the same role, except for tool results.

    All system messages become one, at the beginning.

    Args:
        messages: The messages.
        level: ``JOINED``, or ``WITHOUT_SYSTEM`` to put the system message before the first
            question.
    """
    result: list[Message] = []
    for message in messages:
        if message["role"] == "system":
            continue
        last = result[-1] if result else None
        if last is not None and last["role"] == message["role"] != "tool":
            result[-1] = _join_two(last, message)
        else:
            result.append(message)
    system = _join_all([message for message in messages if message["role"] == "system"])
    if system is None:
        return result
    if level == JOINED:
        return [system, *result]
    as_user = {**system, "role": "user"}
    for index, message in enumerate(result):
        if message["role"] == "user":
            return [*result[:index], _join_two(as_user, message), *result[index + 1 :]]
    return [as_user, *result]


def _with_short_ids(messages: Sequence[Message]) -> list[Message]:
    """Return messages whose calls have ids of nine letters and digits, with their results.

    An id depends only on the messages before it, so that it is the same with the next question.
    """
    ids: dict[str, str] = {}
    return [_message_with_short_ids(message, ids) for message in messages]


def _message_with_short_ids(message: Message, ids: dict[str, str]) -> Message:
    def short(given: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]{9}", given):
            return ids.setdefault(given, f"id{len(ids):07}")
        return given

    if message.get("tool_calls"):
        calls = [{**call, "id": short(call["id"])} for call in message["tool_calls"]]
        return {**message, "tool_calls": calls}
    if message.get("tool_call_id"):
        return {**message, "tool_call_id": short(message["tool_call_id"])}
    return message


def _join_all(messages: Sequence[Message]) -> Message | None:
    """Return all messages as one, None if there are none."""
    found = None
    for message in messages:
        found = message if found is None else _join_two(found, message)
    return found


def _join_two(first: Message, second: Message) -> Message:
    """Return two messages of one role as one."""
    both = {**first, **second, "content": _joined_content(first, second)}
    if first.get("tool_calls") and second.get("tool_calls"):
        both["tool_calls"] = [*first["tool_calls"], *second["tool_calls"]]
    elif first.get("tool_calls"):
        both["tool_calls"] = first["tool_calls"]
    thoughts = [text for one in (first, second) if (text := one.get("reasoning_content"))]
    if thoughts:
        both["reasoning_content"] = "\n\n".join(thoughts)
    return both


def _joined_content(first: Message, second: Message) -> Any:
    contents = [content for one in (first, second) if (content := one.get("content"))]
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    parts: list[Any] = []
    for content in contents:
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return parts
