"""What LlamaIndex counts tokens with, exact for the model of an ``Mlxcel``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .tokenizer import MlxcelTokenizer

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage, LLMMetadata
    from llama_index.core.callbacks import TokenCountingHandler
    from llama_index.core.indices.prompt_helper import PromptHelper
    from llama_index.core.node_parser import SentenceSplitter

    from ..async_client import AsyncLLM
    from ..client import LLM

__all__ = ["Counting"]


class Counting:
    """A model whose tokens are counted as its server does.

    No Pydantic class of its own: building one more takes long.
    """

    if TYPE_CHECKING:
        _llm: LLM
        _async_llm: AsyncLLM

        @property
        def metadata(self) -> LLMMetadata:
            """What LlamaIndex asks of a model."""

        def _wire(self, messages: Sequence[ChatMessage]) -> list[dict[str, Any]]: ...
        def _chat_sampling(self, call: dict[str, Any]) -> dict[str, Any]: ...

    @property
    def tokenizer(self) -> MlxcelTokenizer:
        """The model's tokenizer, for whatever takes one."""
        return MlxcelTokenizer(self)  # type: ignore[arg-type]  # a mixin of what is connected

    def count_message_tokens(self, messages: Sequence[ChatMessage], **kwargs: Any) -> int:
        """Return the number of tokens of the prompt that messages become.

        It is the ``prompt_tokens`` of the answer's usage.

        Args:
            messages: The conversation.
            **kwargs: What ``chat`` would be given, such as ``tools`` in the form of OpenAI.

        Raises:
            MlxcelError: The server cannot count messages.
        """
        wire, sampling = self._wire(messages), self._chat_sampling(kwargs)
        return self._llm.count_message_tokens(wire, **sampling)

    async def acount_message_tokens(self, messages: Sequence[ChatMessage], **kwargs: Any) -> int:
        """Return the number of tokens of the prompt that messages become.

        See ``count_message_tokens``.
        """
        wire, sampling = self._wire(messages), self._chat_sampling(kwargs)
        return await self._async_llm.count_message_tokens(wire, **sampling)

    def prompt_helper(self, **options: Any) -> PromptHelper:
        """Return what cuts retrieved texts so that they fit into this model's context.

        It knows the context of the server, counts with its tokenizer, and leaves room for what
        the chat template adds.

        Args:
            **options: Arguments of ``PromptHelper``, in place of what is known of the model.
        """
        from .prompt_helper import ExactPromptHelper

        return ExactPromptHelper(**{**self._room(), **options})

    def sentence_splitter(self, **options: Any) -> SentenceSplitter:
        """Return a ``SentenceSplitter`` that counts with this model, in other processes too.

        Args:
            **options: Arguments of ``SentenceSplitter``.
        """
        from .splitter import ExactSentenceSplitter

        return ExactSentenceSplitter(tokenizer=self.tokenizer, **options)

    def token_counter(self, **options: Any) -> TokenCountingHandler:
        """Return a ``TokenCountingHandler`` for a ``CallbackManager``.

        It shows what the server tells with each answer, and counts what it does not tell.

        Args:
            **options: Arguments of ``TokenCountingHandler``.
        """
        from llama_index.core.callbacks import TokenCountingHandler

        tokenizer: Any = self.tokenizer
        return TokenCountingHandler(tokenizer=tokenizer, **options)

    def install_as_global(self) -> None:
        """Make this the model of LlamaIndex's ``Settings``, with its tokenizer and its context.

        Other splitters, memories and handlers take the tokenizer when they are made, so this comes
        first. The splitter in ``Settings`` is made anew, with what was set for it.
        """
        from llama_index.core import Settings
        from llama_index.core.indices.prompt_helper import ChatPromptHelper
        from llama_index.core.node_parser import SentenceSplitter

        room = self._room()
        Settings.tokenizer = room["tokenizer"]
        Settings.prompt_helper = self.prompt_helper()
        Settings.chat_prompt_helper = ChatPromptHelper(**room)
        Settings.llm = self  # type: ignore[assignment]  # a mixin of a model
        parser = Settings.node_parser
        if type(parser) is SentenceSplitter:
            options = {name: getattr(parser, name) for name in SentenceSplitter.model_fields}
            Settings.node_parser = self.sentence_splitter(**options)

    def _room(self) -> dict[str, Any]:
        metadata = self.metadata
        return {
            "context_window": metadata.context_window - self._template_tokens(),
            "num_output": metadata.num_output,
            "tokenizer": self.tokenizer,
        }

    def _template_tokens(self) -> int:
        """Return how many tokens the chat template adds to three texts."""
        word = "word"
        # Three messages that every template takes, and as many as prompts of LlamaIndex have.
        roles = ("user", "assistant", "user")
        messages = [{"role": role, "content": word} for role in roles]
        together = self._llm.count_message_tokens(messages, **self._chat_sampling({}))
        return together - len(roles) * self._llm.count_tokens(word)
