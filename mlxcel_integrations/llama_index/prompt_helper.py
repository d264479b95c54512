"""A ``PromptHelper`` whose every count is its own tokenizer's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.utilities.token_counting import TokenCounter

from ..errors import MlxcelError

__all__ = ["ExactPromptHelper"]


class ExactPromptHelper(PromptHelper):
    """A ``PromptHelper`` that counts messages with its own tokenizer.

    Args:
        tokenizer: What counts.
        **options: Other arguments of ``PromptHelper``.
    """

    def __init__(self, *, tokenizer: Callable[[str], Any], **options: Any) -> None:
        super().__init__(tokenizer=tokenizer, **options)
        self._token_counter = MessageCounter(tokenizer)

    def _get_available_context_size(self, num_prompt_tokens: int) -> int:
        room = self.context_window - num_prompt_tokens - self.num_output
        if room < 0:
            raise MlxcelError(
                f"The prompt has {num_prompt_tokens} tokens before any retrieved text is put in, "
                f"and {self.num_output} are kept for the answer, but the context has room for "
                f"{self.context_window}. Shorten the prompt, set a smaller max_tokens, or start "
                "the server with a larger ctx_size."
            )
        return room


class MessageCounter(TokenCounter):
    """A ``TokenCounter`` that does not ask the global tokenizer about messages."""

    MARKS = 3
    """Tokens of a message besides its text and role, as LlamaIndex takes them."""

    def estimate_tokens_in_messages(self, messages: list[ChatMessage]) -> int:
        """Return about how many tokens messages have, apart from images and the like."""
        # Those of their own methods that are not async leave an event loop open.
        texts = [text for message in messages for text in (message.role.value, message.content)]
        return sum(self.get_string_tokens(text or "") for text in texts) + self.MARKS * len(
            messages
        )
