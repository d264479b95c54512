"""``Delta``: the part that one event adds to a streamed answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .prompt_progress import PromptProgress

__all__ = ["CUT_REASONS", "Delta", "tell_progress", "with_thoughts_counted"]

CUT_REASONS = ("length", "repetition")
"""Finish reasons of answers that did not end by themselves."""


@dataclass(slots=True)
class Delta:
    """The part that one event adds to an answer.

    Attributes:
        text: New text of the answer.
        reasoning: New text of the model's thinking.
        tool_calls: New parts of tool calls, as OpenAI's ``delta.tool_calls``.
        finish_reason: ``stop``, ``length`` or ``tool_calls``, once.
        logprobs: Log probabilities of the new tokens, as the server's ``logprobs``.
        usage: Token counts of the whole request, once.
        timings: The server's own measurements, once, if it gives any.
        model: Name of the model that answers, with the finish reason.
        id: The server's name for the answer, with the finish reason.
        prompt_progress: How much of the prompt the server has read, if that is more than before.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    model: str | None = None
    id: str | None = None
    prompt_progress: PromptProgress | None = None


def tell_progress(delta: Delta, progress: Callable[[PromptProgress], object] | None) -> None:
    """Call a function with the progress of a delta, if both are there."""
    if delta.prompt_progress is not None and progress is not None:
        progress(delta.prompt_progress)


def with_thoughts_counted(usage: dict[str, Any], thought_tokens: int) -> dict[str, Any]:
    """Return the token counts of an answer and of the thoughts before it.

    Args:
        usage: The counts of the answer alone.
        thought_tokens: Tokens of the thoughts.
    """
    details = usage.get("completion_tokens_details") or {}
    reasoning = thought_tokens + (details.get("reasoning_tokens") or 0)
    counted = {
        **usage,
        "completion_tokens": (usage.get("completion_tokens") or 0) + thought_tokens,
        "completion_tokens_details": {**details, "reasoning_tokens": reasoning},
    }
    if usage.get("total_tokens"):
        counted["total_tokens"] = usage["total_tokens"] + thought_tokens
    return counted
