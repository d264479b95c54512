"""Thinking: how it is switched, so that every server version understands it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["with_reasoning"]

OFF = ("none", "off", "disabled")


def with_reasoning(sampling: Mapping[str, Any], reasoning: bool | str | None) -> dict[str, Any]:
    """Return fields that make a model think before it answers, or not.

    The variables of the chat template are the one way that every server version understands;
    mlxcel up to v0.4.2 ignores the field ``reasoning_effort``. A budget of zero ends the
    thinking of models whose template has no such variable.

    Args:
        sampling: The fields of a request; what they say on their own stays.
        reasoning: Whether to think, or an effort such as ``"low"``; None for the model's default.
    """
    fields = dict(sampling)
    if reasoning is None:
        return fields
    thinks = reasoning not in (False, *OFF)
    variables: dict[str, Any] = {"enable_thinking": thinks}
    if not thinks:
        fields.setdefault("thinking_budget_tokens", 0)
    elif isinstance(reasoning, str):
        variables["reasoning_effort"] = reasoning
    fields["chat_template_kwargs"] = {**variables, **(fields.get("chat_template_kwargs") or {})}
    return fields
