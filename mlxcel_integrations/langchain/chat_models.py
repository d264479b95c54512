"""``ChatMlxcel``: chat models for LangChain."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, overload

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_protocol.protocol import MessagesData
from pydantic import Field, model_validator

from .. import __version__
from ..adapters.generation import ChatAdapter
from ..errors import check_program_goes_on
from ..protocol.answers.reply import fold
from ..protocol.schemas.schema_use import RELAXABLE
from ..structured.attempts import MAX_ATTEMPTS
from ..structured.request import with_format_converted
from ..transport.owned_generator import OwnedGenerator
from .base import LangChainModel, with_cached_signature
from .error_translation import langchain_errors
from .events import MessageEvents
from .messages import to_openai_messages
from .profile import DEFAULT_PROFILE, to_profile
from .prompt_progress import adispatching, dispatching
from .reading_ahead import ReadingAhead
from .replies import MessageChunks, combined_outputs, to_result, with_llm_output

# Modules for tools and structured output are imported on first use: many programs only chat.

if TYPE_CHECKING:
    from .structured import Method
    from .tools import ToolLike

__all__ = ["ChatMlxcel"]

T = TypeVar("T")


class ChatMlxcel(
    ReadingAhead,
    LangChainModel[LanguageModelInput, AIMessage],
    ChatAdapter,
    BaseChatModel,
    defer_build=False,
):
    """A chat model on this machine, or on a server.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    With none of them, ``MLXCEL_BASE_URL``, ``MLXCEL_SOCKET`` and ``MLXCEL_MODEL`` are looked up.
    Creating one does no I/O; several with the same ``model`` and options share one server.

    All answers are streamed on the wire, so that leaving a loop or cancelling a task frees the
    server at once.

    Examples:
        >>> from mlxcel_integrations.langchain import ChatMlxcel
        >>> with ChatMlxcel(model="embedded", max_tokens=8) as llm:
        ...     answer = llm.invoke("What is the capital of France?")
        >>> "Paris" in answer.text
        True
    """

    _llm_type: ClassVar[str] = "mlxcel-chat"

    streaming: bool = Field(
        default=False,
        description="Whether invoke makes token callbacks; all answers stream on the wire.",
    )
    stream_usage: bool = Field(default=True, description="Whether streams end with token counts.")

    @model_validator(mode="after")
    def _set_mlxcel_version(self) -> Self:
        self._add_version("mlxcel-integrations", __version__)
        return self

    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools that it may call.

        Args:
            tools: Functions, Pydantic classes, TypedDicts, LangChain tools, or dictionaries.
            tool_choice: ``"auto"``, like None, leaves it to the model; ``"none"`` forbids calls;
                ``"any"``, ``"required"`` or True forces one; the name of a tool, or a dictionary
                that names one, forces a call of that tool.
            parallel_tool_calls: Whether one answer may hold several calls, if the server heeds it.
            strict: Put into the tools for compatibility; servers ignore it.
            **kwargs: Further fields of the requests. A ``response_format`` may be all that
                ``with_structured_output`` takes, or ``{"type": "json_object"}``; its schema is
                shown to the model unless ``show_schema`` is False.

        Raises:
            MlxcelError: A tool cannot be expressed, ``tool_choice`` names none of the tools, or
                no server accepts the schema of ``response_format``.
        """
        check_program_goes_on()
        from .tools import tool_fields

        fields = tool_fields(tools, tool_choice, parallel_tool_calls, strict)
        # Agents validate the answers whose format they set.
        return self.bind(**fields, **with_format_converted(kwargs, checked=True))

    @overload
    def with_structured_output(
        self,
        schema: type[T],
        *,
        method: Method = ...,
        include_raw: Literal[False] = ...,
        strict: bool | None = ...,
        tools: None = ...,
        show_schema: bool = ...,
        partial: bool = ...,
        max_attempts: int = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, T]: ...

    @overload
    def with_structured_output(
        self,
        schema: Any,
        *,
        method: Method = ...,
        include_raw: Literal[True],
        strict: bool | None = ...,
        tools: Sequence[ToolLike] | None = ...,
        show_schema: bool = ...,
        partial: bool = ...,
        max_attempts: int = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any]]: ...

    @overload
    def with_structured_output(
        self,
        schema: Any,
        *,
        method: Method = ...,
        include_raw: bool = ...,
        strict: bool | None = ...,
        tools: Sequence[ToolLike] | None = ...,
        show_schema: bool = ...,
        partial: bool = ...,
        max_attempts: int = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]: ...

    def with_structured_output(
        self,
        schema: Any,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[ToolLike] | None = None,
        show_schema: bool = True,
        partial: bool = False,
        max_attempts: int = MAX_ATTEMPTS,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return this model with answers that are objects of a type, or JSON that fits a schema.

        The server generates only text that fits the schema, and the whole answer is validated.

        Args:
            schema: A Pydantic class (of version 1, too), dataclass, ``TypedDict``, ``Enum``,
                ``Literal``, or another type, such as lists, unions and optionals of these; or a
                JSON schema, an OpenAI function or tool, ``{"name", "schema"}``, or a whole
                ``response_format``.
            method: Accepted for compatibility; all methods send a JSON schema, and none uses
                tools.
            include_raw: Whether to return a dictionary of ``raw``, the message, ``parsed``, the
                object, and ``parsing_error``, and not to raise if the answer does not fit.
            strict: Accepted for compatibility; answers always keep to the schema.
            tools: Tools that the model may call instead, with ``include_raw``.
            show_schema: Whether the schema is shown to the model, at the end of the last
                message.
            partial: Whether ``stream`` yields objects of a type at every new value, before they
                are valid, with None for values that have not arrived. JSON schemas and
                ``TypedDict`` always stream the values so far.
            max_attempts: Largest number of attempts at an answer. After one that does not fit, or
                was cut, the model is told what was wrong. Each attempt has its own runs; the token
                counts of ``raw`` cover all of them.
            **kwargs: Further fields of the requests. ``bounded=False`` sends the schema without
                limits for texts, lists and numbers that have none; ``reasoning=True`` or an effort
                makes the model think before it answers.

        Raises:
            MlxcelError: No schema can be made from ``schema``, or no server accepts it; or an
                argument is wrong.
        """
        check_program_goes_on()
        from ..structured.type_schema import to_schema
        from .answer_parser import AnswerParser
        from .structured import StructuredModel, check_arguments, traced_format
        from .tools import tool_fields

        check_arguments(method, tools=bool(tools), include_raw=include_raw)
        answer = to_schema(schema)
        fields = tool_fields(tools, None, None, strict) if tools else {}
        bound = self.bind(
            response_format=answer.response_format,
            show_schema=show_schema,
            schema_use=RELAXABLE,
            ls_structured_output_format=traced_format(schema, answer, method, strict),
            **fields,
            **kwargs,
        )
        parser = AnswerParser(answer, partial=partial, include_raw=include_raw)
        return StructuredModel(bound, parser, max_attempts)

    @with_cached_signature
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with langchain_errors:
            deltas = self._llm._chat(*self._to_openai(messages, stop, kwargs))
            return to_result(fold(dispatching(deltas, run_manager)))

    @with_cached_signature
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with langchain_errors:
            deltas = self._async_llm._chat(*self._to_openai(messages, stop, kwargs))
            return to_result(fold([delta async for delta in adispatching(deltas, run_manager)]))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        # LangChain itself makes the token callbacks of chat models, and passes no run.
        usage = self._wants_usage(kwargs)
        chunks = MessageChunks()
        with langchain_errors:
            for delta in self._llm._chat(*self._to_openai(messages, stop, kwargs)):
                yield from chunks.add(delta)
        yield from chunks.finish(usage=usage)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        usage = self._wants_usage(kwargs)
        chunks = MessageChunks()
        with langchain_errors:
            answer = self._async_llm._chat(*self._to_openai(messages, stop, kwargs))
            async with OwnedGenerator(answer) as deltas:
                async for delta in deltas:
                    for chunk in chunks.add(delta):
                        yield chunk
        for chunk in chunks.finish(usage=usage):
            yield chunk

    def _stream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[MessagesData]:
        usage = self._wants_usage(kwargs)
        events = MessageEvents(run_manager)
        with langchain_errors:
            deltas = self._llm._chat(*self._to_openai(messages, stop, kwargs))
            for delta in dispatching(deltas, run_manager):
                yield from events.add(delta)
        yield from events.finish(usage=usage)

    async def _astream_chat_model_events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[MessagesData]:
        usage = self._wants_usage(kwargs)
        events = MessageEvents(run_manager)
        with langchain_errors:
            answer = self._async_llm._chat(*self._to_openai(messages, stop, kwargs))
            async with OwnedGenerator(answer) as deltas:
                async for delta in adispatching(deltas, run_manager):
                    for event in events.add(delta):
                        yield event
        for event in events.finish(usage=usage):
            yield event

    def _wants_usage(self, call: dict[str, Any]) -> bool:
        """Return whether a stream ends with token counts, as the call or else the model says."""
        options = call.get("stream_options") or {}
        wanted: bool = call.pop("stream_usage", options.get("include_usage", self.stream_usage))
        return wanted

    def _generate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        return with_llm_output(super()._generate_with_cache(*args, **kwargs))

    async def _agenerate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        return with_llm_output(await super()._agenerate_with_cache(*args, **kwargs))

    def _to_openai(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """Return OpenAI messages, and the fields of the request."""
        chat = to_openai_messages(messages, reasoning=self.send_reasoning, urls=self.send_urls)
        return self._chat_request(chat, self._call_fields(stop, call))

    def refresh_profile(self) -> ModelProfile:
        """Ask the server for the model's abilities, and put them into ``profile``.

        Until then, ``profile`` lists what every server can do, so that none has to run.
        """
        self.profile = to_profile(self._llm.features)
        return self.profile

    async def arefresh_profile(self) -> ModelProfile:
        """Refresh ``profile`` without blocking the event loop; see ``refresh_profile``."""
        self.profile = to_profile(await self._async_llm.features)
        return self.profile

    def _resolve_model_profile(self) -> ModelProfile:
        return DEFAULT_PROFILE.copy()

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return the cache key; LangChain's own would depend on all fields, even on timeouts."""
        key = {**self._identifying_params, **self._call_fields(stop, kwargs)}
        for name in ("session", "return_progress"):
            key.pop(name, None)
        return json.dumps(key, sort_keys=True, default=repr)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combined_outputs([output for output in llm_outputs if output])

    def _identity(self) -> dict[str, Any]:
        own = {"reasoning": self.reasoning, "send_reasoning": self.send_reasoning}
        return {**super()._identity(), **own}
