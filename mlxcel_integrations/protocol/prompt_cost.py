"""Cost of reading a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from .reply import ChatReply
from .validation import as_count, as_object

__all__ = ["PromptCost"]


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
        """Return the cost of the prompt of an answer; a server that tells none reused nothing."""
        usage = reply.usage or {}
        tokens = as_count(usage.get("prompt_tokens")) or 0
        details = as_object(usage.get("prompt_tokens_details"))
        reused = min(as_count(details.get("cached_tokens")) or 0, tokens)
        return cls(tokens - reused, reused, seconds)
