"""Exact token counts of both models, and messages that fit into the context."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core import exceptions as langchain
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage, MessageLikeRepresentation, convert_to_messages

from ..adapters.clients import HasClients
from ..errors import MlxcelError, MlxcelServerError, check_program_goes_on
from ..operations import fit_messages
from .error_translation import langchain_errors
from .messages import to_openai_messages

__all__ = ["TextCounting", "TokenCounting", "tools_field"]

_REFUSALS = (MlxcelError, langchain.ModelInvalidRequestError)
"""Errors that may mean that the template refuses these messages together."""

Conversation: TypeAlias = LanguageModelInput | Iterable[MessageLikeRepresentation]
"""Input of ``invoke``, or its messages in any iterable."""


class TextCounting(HasClients):
    """A model that counts the tokens of texts as its server does."""

    if TYPE_CHECKING:
        # A field of LangChain's class, which follows among the bases.
        custom_get_token_ids: Callable[[str], list[int]] | None

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, as the server gives them."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with langchain_errors:
            return self._llm.tokenize(text)

    async def aget_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, as the server gives them."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with langchain_errors:
            return await self._async_llm.tokenize(text)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of a text's tokens."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        with langchain_errors:
            return self._llm.count_tokens(text)

    async def aget_num_tokens(self, text: str) -> int:
        """Return the number of a text's tokens."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        with langchain_errors:
            return await self._async_llm.count_tokens(text)


class TokenCounting(TextCounting):
    """A chat model that counts tokens as its server does."""

    @abstractmethod
    def _to_openai(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """Return OpenAI messages, and the fields of the request."""

    def get_num_tokens_from_messages(
        self, messages: Conversation, tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens in the prompt made from messages.

        It equals the ``input_tokens`` of the answer's usage. Messages that the model's template
        refuses together, such as those that ``trim_messages`` passes, are counted one by one as
        user messages, which is never too few.

        Args:
            messages: What ``invoke`` takes; an empty list has no tokens.
            tools: What ``bind_tools`` takes.

        Raises:
            MlxcelError: The server cannot count messages.
        """
        chat, fields = self._to_openai(_as_messages(messages), None, tools_field(tools))
        count = self._llm.count_message_tokens
        try:
            with langchain_errors:
                return count(chat, **fields) if chat else 0
        except _REFUSALS as error:
            parts = _split_conversation(chat, fields, error)
            with langchain_errors:
                return sum([count(part, **more) for part, more in parts])

    async def aget_num_tokens_from_messages(
        self, messages: Conversation, tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens in the prompt made from messages.

        See ``get_num_tokens_from_messages``.
        """
        chat, fields = self._to_openai(_as_messages(messages), None, tools_field(tools))
        count = self._async_llm.count_message_tokens
        try:
            with langchain_errors:
                return await count(chat, **fields) if chat else 0
        except _REFUSALS as error:
            parts = _split_conversation(chat, fields, error)
            with langchain_errors:
                return sum([await count(part, **more) for part, more in parts])

    @property
    def counting_route(self) -> str | None:
        """The server's route that counts messages, None before the first count."""
        return self._llm.counting_route

    def fit_messages(
        self,
        messages: Conversation,
        *,
        reserve: int | None = None,
        tools: Sequence[Any] | None = None,
    ) -> list[BaseMessage]:
        """Return the messages without the oldest ones that do not fit into the context.

        System messages at the beginning and the last user message stay, and tool results stay
        with their calls.

        Args:
            messages: What ``invoke`` takes, such as a list of messages or of pairs.
            reserve: Tokens to leave for the answer; ``max_tokens`` if not given, or else a
                quarter of the context.
            tools: What ``bind_tools`` takes.

        Raises:
            ContextOverflowError: Even the last turn alone does not fit.
            MlxcelError: The server does not report the size of its context, or cannot count.
        """
        given = _as_messages(messages)
        with langchain_errors:
            chat, fields = self._to_openai(given, None, tools_field(tools))
            kept = self._llm._driver.run(fit_messages(self._connection, chat, reserve, fields))
        return _source_messages(given, chat, kept)

    async def afit_messages(
        self,
        messages: Conversation,
        *,
        reserve: int | None = None,
        tools: Sequence[Any] | None = None,
    ) -> list[BaseMessage]:
        """Return the messages without the oldest ones that do not fit into the context.

        See ``fit_messages``.
        """
        given = _as_messages(messages)
        with langchain_errors:
            chat, fields = self._to_openai(given, None, tools_field(tools))
            kept = await self._async_llm._driver.run(
                fit_messages(self._connection, chat, reserve, fields)
            )
        return _source_messages(given, chat, kept)


def _as_messages(conversation: Conversation) -> list[BaseMessage]:
    if isinstance(conversation, str | BaseMessage):
        return convert_to_messages([conversation])
    return convert_to_messages(conversation)


def _source_messages(
    messages: Sequence[BaseMessage], chat: Sequence[Any], kept: Sequence[int]
) -> list[BaseMessage]:
    """Return the messages from which the kept OpenAI messages were made.

    A message that holds the results of several tools becomes several OpenAI messages.
    """
    if len(chat) == len(messages):
        return [messages[index] for index in kept]
    sources = [
        number
        for number, message in enumerate(messages)
        for _ in to_openai_messages([message], urls=True)
    ]
    return [messages[number] for number in dict.fromkeys(sources[index] for index in kept)]


def tools_field(tools: Sequence[Any] | None) -> dict[str, Any]:
    """Return the field of a request for tools; none without tools, which most programs lack."""
    if not tools:
        return {}
    check_program_goes_on()
    from .tools import to_openai_tools

    return {"tools": to_openai_tools(tools)}


def _split_conversation(
    messages: Sequence[Mapping[str, Any]], fields: dict[str, Any], error: Exception
) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Return conversations of one user message each, which have at least as many tokens together.

    Args:
        messages: OpenAI messages that were refused together.
        fields: Fields of the request; only the first conversation keeps the tools.
        error: The refusal.

    Raises:
        MlxcelServerError: The managed server failed, which is not a refusal.
    """
    if isinstance(error, MlxcelServerError):
        raise error
    without_tools = {name: value for name, value in fields.items() if name != "tools"}
    return [
        ([_as_user_message(message)], without_tools if index else fields)
        for index, message in enumerate(messages)
    ]


def _as_user_message(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
    content = message.get("content") or ""
    if isinstance(content, list):
        return {"role": "user", "content": [*content, {"type": "text", "text": calls or "."}]}
    # All servers refuse an empty message.
    return {"role": "user", "content": f"{content}{calls}".strip() or "."}
