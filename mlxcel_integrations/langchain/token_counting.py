"""Exact token counts for ``ChatMlxcel``, and messages that fit into the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core import exceptions as langchain
from langchain_core.messages import BaseMessage

from ..adapters import HasClients
from ..errors import MlxcelError
from ..operations import fit_messages
from .messages import counted_apart
from .error_translation import langchain_errors
from .tools import to_openai_tools

__all__ = ["Counting"]

_NO_CONVERSATION = (MlxcelError, langchain.ModelInvalidRequestError)
"""What says that a template does not take some messages together, at best."""


class Counting(HasClients):
    """A chat model that counts tokens as its server does.

    No Pydantic class of its own: building one more takes a quarter of the adapter's import.
    """

    if TYPE_CHECKING:
        custom_get_token_ids: Callable[[str], list[int]] | None = None

        def _wire(self, messages: Sequence[BaseMessage]) -> list[dict[str, Any]]: ...
        def _sampling(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]: ...

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, as the server gives them."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with langchain_errors():
            return self._llm.tokenize(text)

    async def aget_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, as the server gives them."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with langchain_errors():
            return await self._async_llm.tokenize(text)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of a text's tokens."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        with langchain_errors():
            return self._llm.count_tokens(text)

    async def aget_num_tokens(self, text: str) -> int:
        """Return the number of a text's tokens."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        with langchain_errors():
            return await self._async_llm.count_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens of the prompt that messages become.

        It is the ``input_tokens`` of the answer's usage. Messages that are no conversation which
        the model's template takes, as ``trim_messages`` has counted, are counted one by one as if
        the user had sent them, which is never too few.

        Args:
            messages: The messages; none have no tokens.
            tools: What ``bind_tools`` takes.

        Raises:
            MlxcelError: The server cannot count messages.
        """
        wire, sampling = self._wire(messages), self._sampling(None, _tool_fields(tools))
        try:
            with langchain_errors():
                return self._llm.count_message_tokens(wire, **sampling) if wire else 0
        except _NO_CONVERSATION as error:
            parts = counted_apart(wire, sampling, error)
            with langchain_errors():
                count = self._llm.count_message_tokens
                return sum([count(one, **more) for one, more in parts])

    async def aget_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens of the prompt that messages become.

        See ``get_num_tokens_from_messages``.
        """
        wire, sampling = self._wire(messages), self._sampling(None, _tool_fields(tools))
        try:
            with langchain_errors():
                return await self._async_llm.count_message_tokens(wire, **sampling) if wire else 0
        except _NO_CONVERSATION as error:
            parts = counted_apart(wire, sampling, error)
            with langchain_errors():
                count = self._async_llm.count_message_tokens
                return sum([await count(one, **more) for one, more in parts])

    @property
    def counting_route(self) -> str | None:
        """The server's route by which messages are counted, None before the first count."""
        return self._llm.counting_route

    def fit_messages(
        self,
        messages: Sequence[BaseMessage],
        *,
        reserve: int | None = None,
        tools: Sequence[Any] | None = None,
    ) -> list[BaseMessage]:
        """Return the messages without the oldest ones that do not fit into the context.

        System messages at the beginning and the last user message stay, and tool results stay
        with their calls.

        Args:
            messages: The conversation.
            reserve: Tokens to leave for the answer; ``max_tokens`` if not given, or else a
                quarter of the context.
            tools: What ``bind_tools`` takes.

        Raises:
            ContextOverflowError: Even the last turn alone does not fit.
            MlxcelError: The server does not tell its context, or cannot count.
        """
        with langchain_errors():
            sampling = self._sampling(None, _tool_fields(tools))
            wire = self._wire(messages)
            kept = self._run(fit_messages(self._connection, wire, reserve, sampling))
        return [messages[index] for index in kept]

    async def afit_messages(
        self,
        messages: Sequence[BaseMessage],
        *,
        reserve: int | None = None,
        tools: Sequence[Any] | None = None,
    ) -> list[BaseMessage]:
        """Return the messages without the oldest ones that do not fit into the context.

        See ``fit_messages``.
        """
        with langchain_errors():
            sampling = self._sampling(None, _tool_fields(tools))
            wire = self._wire(messages)
            kept = await self._arun(fit_messages(self._connection, wire, reserve, sampling))
        return [messages[index] for index in kept]


def _tool_fields(tools: Sequence[Any] | None) -> dict[str, Any]:
    """Return the field of a request for tools."""
    return {"tools": to_openai_tools(tools)} if tools else {}
