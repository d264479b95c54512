"""Prompts that a chat model reads before anybody waits for an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .error_translation import langchain_errors
from .token_counting import TokenCounting, tools_field

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.prompt_values import PromptValue

    from ..protocol.tokens.prompt_cost import PromptCost
    from .tools import ToolLike

__all__ = ["ReadingAhead"]


class ReadingAhead(TokenCounting):
    """A chat model that reads prompts ahead."""

    if TYPE_CHECKING:
        # A method of LangChain's class, which follows among the bases.
        def _convert_input(self, model_input: LanguageModelInput) -> PromptValue: ...

    def warm(
        self,
        messages: LanguageModelInput,
        *,
        tools: Sequence[ToolLike] | None = None,
        **kwargs: Any,
    ) -> PromptCost:
        """Read a prompt ahead, so that a chat that begins with it is answered at once.

        Args:
            messages: The beginning of later conversations, as ``invoke`` takes it: a system
                message, documents, examples.
            tools: What ``bind_tools`` takes.
            **kwargs: Other fields that change the prompt, such as ``reasoning``.

        Returns:
            The cost of reading it. With ``keep_prompts``, a restarted server still has it.

        Examples:
            >>> from langchain_core.messages import SystemMessage
            >>> from mlxcel_integrations.langchain import ChatMlxcel
            >>> rules = SystemMessage("You answer in one word. " * 20)
            >>> with ChatMlxcel(model="embedded") as llm:
            ...     first, second = llm.warm([rules]), llm.warm([rules])
            >>> first.tokens_reused < second.tokens_reused
            True
        """
        with langchain_errors:
            chat, fields = self._warm_request(messages, tools, kwargs)
            return self._llm.warm(chat, **fields)

    async def awarm(
        self,
        messages: LanguageModelInput,
        *,
        tools: Sequence[ToolLike] | None = None,
        **kwargs: Any,
    ) -> PromptCost:
        """Read a prompt ahead; see ``warm``."""
        with langchain_errors:
            chat, fields = self._warm_request(messages, tools, kwargs)
            return await self._async_llm.warm(chat, **fields)

    def _warm_request(
        self,
        messages: LanguageModelInput,
        tools: Sequence[ToolLike] | None,
        call: dict[str, Any],
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """Return OpenAI messages, and the fields that change the prompt."""
        given = self._convert_input(messages).to_messages()
        # A schema would stand at the end, after everything that later conversations share.
        return self._to_openai(given, None, {"response_format": None, **tools_field(tools), **call})
