"""Cost of reading a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from .reply import ChatReply

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
        reused = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return cls(usage.get("prompt_tokens", 0) - reused, reused, seconds)
