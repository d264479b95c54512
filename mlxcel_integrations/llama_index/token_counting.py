"""Token counts for LlamaIndex: messages, and the helpers that count with the server's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage

from .base import ChatRequests
from .tokenizer import MlxcelTokenizer

if TYPE_CHECKING:
    from llama_index.core.callbacks import TokenCountingHandler
    from llama_index.core.indices.prompt_helper import PromptHelper
    from llama_index.core.node_parser import SentenceSplitter

__all__ = ["TokenCounting"]


class TokenCounting(ChatRequests):
    """A model whose tokens are counted as its server counts them."""

    @property
    def tokenizer(self) -> MlxcelTokenizer:
        """The model's tokenizer, for everything in LlamaIndex that takes one."""
        return MlxcelTokenizer(self)

    def count_message_tokens(self, messages: Sequence[ChatMessage], **kwargs: Any) -> int:
        """Return the number of tokens in the prompt made from messages.

        It equals the ``prompt_tokens`` of the answer's usage.

        Args:
            messages: The conversation.
            **kwargs: The arguments that ``chat`` would get, such as ``tools`` in OpenAI's form.

        Raises:
            MlxcelError: The server cannot count messages.
        """
        chat, fields = self._to_openai(messages, kwargs)
        return self._llm.count_message_tokens(chat, **fields)

    async def acount_message_tokens(self, messages: Sequence[ChatMessage], **kwargs: Any) -> int:
        """Return the number of tokens in the prompt made from messages.

        See ``count_message_tokens``.
        """
        chat, fields = self._to_openai(messages, kwargs)
        return await self._async_llm.count_message_tokens(chat, **fields)

    def prompt_helper(self, **options: Any) -> PromptHelper:
        """Return a ``PromptHelper`` that cuts retrieved texts to fit this model's context.

        It knows the context of the server, counts with its tokenizer, and leaves room for the
        tokens that the chat template adds, and a ``response_format`` of the model.

        Args:
            **options: Arguments of ``PromptHelper``, which override those known from the model.
        """
        from .prompt_helper import ExactPromptHelper

        return ExactPromptHelper(**{**self._prompt_helper_options(), **options})

    def sentence_splitter(self, **options: Any) -> SentenceSplitter:
        """Return a ``SentenceSplitter`` that counts with this model, in other processes too.

        Args:
            **options: Arguments of ``SentenceSplitter``.
        """
        from .splitter import ExactSentenceSplitter

        return ExactSentenceSplitter(tokenizer=self.tokenizer, **options)

    def token_counter(self, **options: Any) -> TokenCountingHandler:
        """Return a ``TokenCountingHandler`` for a ``CallbackManager``.

        It reports the counts that the server sends with each answer, and counts where the server
        sends none.

        Args:
            **options: Arguments of ``TokenCountingHandler``.
        """
        from llama_index.core.callbacks import TokenCountingHandler

        tokenizer: Any = self.tokenizer
        return TokenCountingHandler(tokenizer=tokenizer, **options)

    def install_as_global(self) -> None:
        """Make this the model of LlamaIndex's ``Settings``, with its tokenizer and its context.

        Call it first: splitters, memories and handlers take the global tokenizer when they are
        made. The splitter in ``Settings`` is made again, with the same options.
        """
        from llama_index.core import Settings
        from llama_index.core.indices.prompt_helper import ChatPromptHelper
        from llama_index.core.node_parser import SentenceSplitter

        options = self._prompt_helper_options()
        Settings.tokenizer = options["tokenizer"]
        Settings.prompt_helper = self.prompt_helper()
        Settings.chat_prompt_helper = ChatPromptHelper(**options)
        Settings.llm = self
        parser = Settings.node_parser
        if type(parser) is SentenceSplitter:
            same = {name: getattr(parser, name) for name in SentenceSplitter.model_fields}
            Settings.node_parser = self.sentence_splitter(**same)

    def _prompt_helper_options(self) -> dict[str, Any]:
        """Return the arguments of a prompt helper that follow from the model."""
        metadata = self.metadata
        return {
            "context_window": metadata.context_window - self._template_tokens(),
            "num_output": metadata.num_output,
            "tokenizer": self.tokenizer,
        }

    def _template_tokens(self) -> int:
        """Return the number of tokens that the chat template and a schema add to three messages."""
        word = "word"
        # Every template takes these, and LlamaIndex's own prompts have no more.
        roles = ("user", "assistant", "user")
        together = self.count_message_tokens([ChatMessage(word, role=role) for role in roles])
        return together - len(roles) * self._llm.count_tokens(word)
