"""Base of Mlxcel and its mixins: the messages and fields of a chat request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage

from .messages import to_openai_messages

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM

    from ..adapters.generation import ChatAdapter

    class ChatModel(ChatAdapter, FunctionCallingLLM):
        """The class that a mixin of ``Mlxcel`` is mixed into."""
else:
    # LlamaIndex would add a span to each overridden method of a mixin that is a model itself.
    ChatModel = object

__all__ = ["ChatRequests"]


class ChatRequests(ChatModel):
    """The messages and fields of a chat request, for ``Mlxcel`` and its mixins."""

    def _to_openai(
        self, messages: Sequence[ChatMessage], call: Mapping[str, Any]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """Return OpenAI messages, and the fields of the request."""
        chat = to_openai_messages(messages, reasoning=self.send_reasoning, urls=self.send_urls)
        return self._chat_request(chat, call)
