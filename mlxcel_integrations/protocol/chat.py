"""Chat: ``/v1/chat/completions``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MlxcelError
from .sampling import to_wire
from .stream import Delta, DeltaStream, Request

__all__ = ["ChatStream", "chat_request", "check_messages"]

ROUTE = "/v1/chat/completions"
ROLES = ("system", "user", "assistant", "tool")


def chat_request(
    model: str,
    messages: str | Sequence[Mapping[str, Any]],
    sampling: Mapping[str, Any],
    engine: str | None = None,
) -> Request:
    """Ask for the next turn of a conversation.

    Args:
        model: Name of the served model.
        messages: OpenAI messages, or one user message as plain text.
        sampling: Sampling fields; None values are left to the server.
        engine: What serves the model, as ``ServerFeatures.engine``.

    Raises:
        MlxcelError: A message or a field is one that no server accepts.
    """
    body = {
        "model": model,
        "messages": check_messages(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        **to_wire(sampling, engine),
    }
    return Request(ROUTE, body, ChatStream)


def check_messages(messages: str | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return messages that every server version accepts.

    ``developer`` becomes ``system``: mlxcel answers 422 to the former, and llama-server's
    templates drop unknown roles in silence.

    Raises:
        MlxcelError: There is no message, or one has no known role.
    """
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not messages:
        raise MlxcelError("There are no messages to answer: pass at least one user message.")
    return [_checked(index, message) for index, message in enumerate(messages)]


def _checked(index: int, message: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        raise MlxcelError(
            f"messages[{index}] is {type(message).__name__}, not a dictionary such as "
            '{"role": "user", "content": "..."}.'
        )
    role = message.get("role")
    if role in ROLES:
        return message
    if role == "developer":
        return {**message, "role": "system"}
    near = difflib.get_close_matches(str(role), ROLES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MlxcelError(
        f"messages[{index}] has the unknown role {role!r}; roles are {', '.join(ROLES)}.{hint}"
    )


class ChatStream(DeltaStream):
    """Read a streamed chat answer."""

    def _read_choice(self, choice: dict[str, Any]) -> Delta | None:
        part = choice["delta"]
        delta = Delta(part.get("content") or "")
        # Servers name the thinking text one way or the other; some send it under both names.
        reasoning = part.get("reasoning_content") or part.get("reasoning")
        if reasoning:
            delta.reasoning = reasoning
        if part.get("tool_calls"):
            delta.tool_calls = part["tool_calls"]
        if choice.get("finish_reason"):
            delta.finish_reason = choice["finish_reason"]
        if choice.get("logprobs"):
            delta.logprobs = choice["logprobs"]
        return delta
