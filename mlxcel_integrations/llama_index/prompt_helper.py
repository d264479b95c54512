"""A ``PromptHelper`` that counts everything with its own tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.utilities.token_counting import TokenCounter

from ..errors import MlxcelError

__all__ = ["ExactPromptHelper"]


class ExactPromptHelper(PromptHelper):
    """A ``PromptHelper`` that counts messages with its own tokenizer, not the global one.

    Args:
        tokenizer: A function that returns the tokens of a text.
        **options: Other arguments of ``PromptHelper``.
    """

    def __init__(self, *, tokenizer: Callable[[str], Any], **options: Any) -> None:
        super().__init__(tokenizer=tokenizer, **options)
        self._token_counter = MessageCounter(tokenizer)

    def _get_available_context_size(self, num_prompt_tokens: int) -> int:
        room = self.context_window - num_prompt_tokens - self.num_output
        if room < 0:
            raise MlxcelError(
                f"The prompt has {num_prompt_tokens} tokens before any retrieved text is added, "
                f"and {self.num_output} are reserved for the answer, but the context has room for "
                f"{self.context_window}. Shorten the prompt, set a smaller max_tokens, or start "
                "the server with a larger ctx_size."
            )
        return room


class MessageCounter(TokenCounter):
    """A ``TokenCounter`` that counts messages with its own tokenizer, not the global one."""

    TOKENS_PER_MESSAGE = 3
    """Tokens of a message besides its text and role: LlamaIndex's own estimate."""

    def estimate_tokens_in_messages(self, messages: list[ChatMessage]) -> int:
        """Return the approximate number of tokens in messages, images and the like excluded."""
        # The synchronous method of ChatMessage for this leaves an event loop open.
        texts = [text for message in messages for text in (message.role.value, message.content)]
        counts = [self.get_string_tokens(text or "") for text in texts]
        return sum(counts) + self.TOKENS_PER_MESSAGE * len(messages)
