"""Roles of messages for strict chat templates: repeated ones are joined, system messages moved.

Some templates raise an error unless user and assistant take turns, and some know no system role.
Servers pass the error on. mlxcel up to v0.4.2 answers all the same, from a prompt of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .failures import ROLES_REFUSED, Failure
from .messages import Message
from .validation import error_text

__all__ = ["Roles", "merged", "refuses_roles"]

AS_GIVEN, JOINED, WITHOUT_SYSTEM = range(3)
"""How messages are sent, in the order in which it is tried."""

_NO_SYSTEM = re.compile(
    r"system (role|message|prompt)s? (is |are )?(not|un)|only user and assistant", re.IGNORECASE
)

_REFUSED = (400, 422, 500)


def refuses_roles(failure: Failure) -> bool:
    """Tell whether a chat template has refused the roles of messages."""
    text = error_text(failure.body)
    return failure.status in _REFUSED and ROLES_REFUSED.search(text) is not None


class Roles:
    """What is known about the roles that the chat template of one server accepts.

    Args:
        merge: Whether to merge messages from the start; None to do so once the server has refused
            them, False never to do so.

    Attributes:
        level: How messages are sent.
    """

    def __init__(self, merge: bool | None = None) -> None:
        self._merge = merge
        self.forget()

    def forget(self) -> None:
        """Forget what is known: another server answers now."""
        self.level = WITHOUT_SYSTEM if self._merge else AS_GIVEN

    def fit(self, body: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        """Return a request body with its messages, if it has any, merged as a level requires."""
        if level == AS_GIVEN or "messages" not in body:
            return body
        return {**body, "messages": merged(body["messages"], level)}

    def template_failed(self, reason: str) -> None:
        """Learn from a failure that mlxcel up to v0.4.2 only logs: later requests are merged."""
        if self._merge is None and ROLES_REFUSED.search(reason):
            self.level = WITHOUT_SYSTEM

    def after_refusal(self, failure: Failure, body: Mapping[str, Any], level: int) -> int | None:
        """Return the level at which to send a refused request again, None if that is useless.

        Args:
            failure: The answer.
            body: Body of the request with its messages as given.
            level: The level at which it was sent.
        """
        if self._merge is False or "messages" not in body or not refuses_roles(failure):
            return None
        no_system = _NO_SYSTEM.search(error_text(failure.body))
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
            result[-1] = _joined(last, message)
        else:
            result.append(message)
    system = _all([message for message in messages if message["role"] == "system"])
    if system is None:
        return result
    if level == JOINED:
        return [system, *result]
    as_user = {**system, "role": "user"}
    for index, message in enumerate(result):
        if message["role"] == "user":
            return [*result[:index], _joined(as_user, message), *result[index + 1 :]]
    return [as_user, *result]


def _all(messages: Sequence[Message]) -> Message | None:
    """Return all messages as one, None if there are none."""
    found = None
    for message in messages:
        found = message if found is None else _joined(found, message)
    return found


def _joined(first: Message, second: Message) -> Message:
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
