"""Prompts that a model reads before anybody waits for an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import ChatRequests
from .mlxcel_errors import llama_index_errors
from .tools import to_openai_tools

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.tools.types import BaseTool

    from ..protocol.tokens.prompt_cost import PromptCost

__all__ = ["ReadingAhead"]


class ReadingAhead(ChatRequests):
    """A model that reads prompts ahead."""

    def warm(
        self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool] = (), **kwargs: Any
    ) -> PromptCost:
        """Read a prompt ahead, so that a chat that begins with it is answered at once.

        Args:
            messages: The beginning of later conversations: a system message, documents, examples.
            tools: What ``chat_with_tools`` takes.
            **kwargs: Other fields that change the prompt, such as ``reasoning``.

        Returns:
            The cost of reading it. With ``keep_prompts``, a restarted server still has it.

        Examples:
            >>> from llama_index.core.llms import ChatMessage
            >>> from mlxcel_integrations.llama_index import Mlxcel
            >>> rules = ChatMessage("You answer in one word. " * 20, role="system")
            >>> with Mlxcel(model="embedded") as llm:
            ...     first, second = llm.warm([rules]), llm.warm([rules])
            >>> first.tokens_reused < second.tokens_reused
            True
        """
        with llama_index_errors:
            chat, fields = self._warm_request(messages, tools, kwargs)
            return self._llm.warm(chat, **fields)

    async def awarm(
        self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool] = (), **kwargs: Any
    ) -> PromptCost:
        """Read a prompt ahead; see ``warm``."""
        with llama_index_errors:
            chat, fields = self._warm_request(messages, tools, kwargs)
            return await self._async_llm.warm(chat, **fields)

    def _warm_request(
        self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool], call: dict[str, Any]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """Return OpenAI messages, and the fields that change the prompt."""
        offered = {"tools": to_openai_tools(tools)} if tools else {}
        # A schema would stand at the end, after everything that later conversations share.
        return self._to_openai(messages, {"response_format": None, **call, **offered})
