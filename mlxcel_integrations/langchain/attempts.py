"""Attempts at a structured answer; its message has the token counts of all attempts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from ..structured.attempts import Attempts
from ..transport.owned_generator import OwnedGenerator
from .answer_parser import RawAnswer

__all__ = ["MessageAttempts"]

M = TypeVar("M", bound=AIMessage)


class MessageAttempts(Attempts):
    """Attempts whose answers are messages, or the results of ``include_raw``."""

    _total_usage: UsageMetadata | None = None
    _counted_attempt = 1

    def with_total_usage(self, message: M) -> M:  # type: ignore[override]  # a message instead of a reply
        """Return a message, or a chunk of one, with the token counts of all attempts together.

        The first chunk carries those of earlier attempts, since an answer left early has no counts.
        """
        usage, earlier = message.usage_metadata, None
        if self._counted_attempt < self.number:
            self._counted_attempt, earlier = self.number, self._total_usage
        if usage is not None:
            self._total_usage = add_usage(self._total_usage, usage)
        if earlier is None:
            return message
        return message.model_copy(update={"usage_metadata": add_usage(earlier, usage)})

    async def awith_total_usage(self, chunks: AsyncIterator[M]) -> AsyncGenerator[M, None]:
        """Yield the chunks of a message as ``with_total_usage`` returns them."""
        stream: Any = chunks
        async with OwnedGenerator(stream) as owned:
            async for chunk in owned:
                yield self.with_total_usage(chunk)

    def check(self, answer: Any) -> None:
        """Raise the error that a result of ``include_raw`` holds, if another attempt follows."""
        if self.refuses(answer):
            raise answer["parsing_error"]

    def refuses(self, answer: Any) -> bool:
        """Return whether another attempt follows the error in a result of ``include_raw``."""
        return isinstance(answer, dict) and self.continues_after(answer.get("parsing_error"))

    def with_attempt(self, answer: Any) -> Any:
        """Return a part of a streamed answer, marked with its attempt."""
        if isinstance(answer, RawAnswer):
            answer.attempt = self.number
        return answer
