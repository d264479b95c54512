"""Reading a prompt without an answer, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..answers.reply import ChatReply
from ..validation import as_count, as_object

__all__ = ["PromptCost", "reading_fields"]


def reading_fields(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request whose prompt is read, with an answer of one token.

    Fields for the form of the answer are left out, since one token cannot have that form. A prompt
    only shows them after all that later conversations share.
    """
    fields = {name: value for name, value in sampling.items() if name != "response_format"}
    if fields.get("tool_choice") != "none":
        fields.pop("tool_choice", None)
    return {**fields, "max_tokens": 1}


@dataclass(frozen=True, slots=True)
class PromptCost:
    """What it cost to read a prompt.

    Attributes:
        tokens_read: Tokens that the server computed.
        tokens_reused: Tokens that it had computed before.
        seconds: Time until they were read.
    """

    tokens_read: int
    tokens_reused: int
    seconds: float

    @classmethod
    def of(cls, reply: ChatReply, seconds: float) -> PromptCost:
        """Return the cost of an answer's prompt; no tokens are reused if none are reported."""
        usage = reply.usage or {}
        tokens = as_count(usage.get("prompt_tokens")) or 0
        details = as_object(usage.get("prompt_tokens_details"))
        reused = min(as_count(details.get("cached_tokens")) or 0, tokens)
        return cls(tokens - reused, reused, seconds)
