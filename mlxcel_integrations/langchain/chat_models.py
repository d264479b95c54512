"""``ChatMlxcel``: chat models for LangChain."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field, model_validator

from .. import __version__
from ..adapters import ChatAdapter
from ..operations import prepare_chat
from ..protocol.flow import Flow
from ..protocol.stream import Request, fold
from .base import Identified
from .batches import Batches
from .messages import to_wire
from .error_translation import langchain_errors
from .profile import DEFAULT_PROFILE, to_profile
from .replies import Tail, combined, to_chunk, to_result
from .structured import Structured, answer_fields, asked
from .token_counting import Counting
from .tools import ToolLike, tool_fields

__all__ = ["ChatMlxcel"]


class ChatMlxcel(
    Structured,
    Counting,
    Identified,
    Batches[LanguageModelInput, AIMessage],
    ChatAdapter,
    BaseChatModel,
    defer_build=False,
):
    """A chat model on this machine, or on a server.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    With none of them, ``MLXCEL_BASE_URL``, ``MLXCEL_SOCKET`` and ``MLXCEL_MODEL`` are looked up.
    Making one does no I/O; several with the same ``model`` and options share one server.

    All answers are streamed on the wire, so that leaving a loop or cancelling a task frees the
    server at once.

    Examples:
        >>> from mlxcel_integrations.langchain import ChatMlxcel
        >>> with ChatMlxcel(model="embedded", max_tokens=8) as llm:
        ...     answer = llm.invoke("What is the capital of France?")
        >>> "Paris" in answer.text
        True
    """

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
            tool_choice: ``"auto"``, as None, leaves it to the model; ``"none"`` forbids calls;
                ``"any"``, ``"required"`` or True makes sure of one; so does the name of a tool,
                or a dictionary that names one, for that tool.
            parallel_tool_calls: Whether one answer may hold several calls, if the server heeds it.
            strict: Put into the tools for compatibility; servers ignore it.
            **kwargs: Further fields of the requests. A ``response_format`` with a schema is shown
                to the model, unless ``show_schema`` is False, and made such that servers take it.

        Raises:
            MlxcelError: A tool cannot be expressed, or ``tool_choice`` names none of them; or
                the schema of ``response_format`` is one that no server takes.
        """
        fields = tool_fields(tools, tool_choice, parallel_tool_calls, strict)
        return self.bind(**fields, **answer_fields(kwargs))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with langchain_errors():
            return to_result(fold(self._deltas(self._prepared(messages, stop, kwargs))))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with langchain_errors():
            deltas = self._adeltas(self._prepared(messages, stop, kwargs))
            return to_result(fold([delta async for delta in deltas]))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        # Core makes the token callbacks itself: run_manager is not for here.
        usage = kwargs.pop("stream_usage", self.stream_usage)
        tail = Tail()
        with langchain_errors():
            for delta in self._deltas(self._prepared(messages, stop, kwargs)):
                if tail.take(delta):
                    yield to_chunk(delta)
        yield from tail.chunks(usage=usage)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        usage = kwargs.pop("stream_usage", self.stream_usage)
        tail = Tail()
        with langchain_errors():
            chat = self._prepared(messages, stop, kwargs)
            async with contextlib.aclosing(self._adeltas(chat)) as deltas:
                async for delta in deltas:
                    if tail.take(delta):
                        yield to_chunk(delta)
        for chunk in tail.chunks(usage=usage):
            yield chunk

    def _sampling(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        sampling = super()._sampling(stop, call)
        return self._with_reasoning(sampling)

    def _prepared(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> Flow[Request]:
        """Return the flow that makes the request."""
        fields = asked(self._wire(messages), self._sampling(stop, call))
        return prepare_chat(self._connection, *fields)

    def _wire(self, messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
        return to_wire(messages, reasoning=self.send_reasoning, urls=self.send_urls)

    def refresh_profile(self) -> ModelProfile:
        """Ask the server what the model can do, and return it; ``profile`` is this from then on.

        Until then, ``profile`` holds what is true of every server: asking needs one that runs.
        """
        self.profile = to_profile(self._llm.features)
        return self.profile

    async def arefresh_profile(self) -> ModelProfile:
        """Do as ``refresh_profile`` without blocking the event loop."""
        self.profile = to_profile(await self._async_llm.features)
        return self.profile

    def _resolve_model_profile(self) -> ModelProfile:
        return DEFAULT_PROFILE.copy()

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return the cache key; LangChain's own holds all fields, and so the timeout."""
        asked = {**self._identifying_params, **self._sampling(stop, kwargs)}
        asked.pop("session", None)
        return json.dumps(asked, sort_keys=True, default=repr)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combined([output for output in llm_outputs if output])

    @property
    def _llm_type(self) -> str:
        return "mlxcel-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        own = {"reasoning": self.reasoning, "send_reasoning": self.send_reasoning}
        return {**super()._identifying_params, **own}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self._named(super()._get_ls_params(stop=stop or self.stop, **kwargs))
