"""``ChatMlxcel``: chat models for LangChain."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from langchain_core import exceptions as langchain
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

from .. import __version__
from ..async_client import AsyncLLM
from ..client import LLM
from ..connection import Connection
from ..errors import MlxcelError
from ..options import ConnectionOptions, SamplingParams, ServerOptions, nearest
from ..protocol.stream import fold
from ..secret import hidden
from .messages import PROVIDER, Tail, counted_apart, to_chunk, to_result, to_wire
from .own_errors import own_to_langchain

__all__ = ["ChatMlxcel"]


class ChatMlxcel(ConnectionOptions, ServerOptions, SamplingParams, BaseChatModel):
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
    reasoning: bool | str | None = Field(
        default=None,
        description="Whether the model thinks before it answers: True, False, or an effort such "
        'as "low"; None for its own default.',
    )
    check_context: bool | None = Field(
        default=None,
        description="Whether a chat that does not fit into the context is refused before it is "
        "sent; None does where the server would forget its beginning and not tell.",
    )

    _connection: Connection = PrivateAttr()
    _llm: LLM = PrivateAttr()
    _async_llm: AsyncLLM = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(values.get("api_key"), str):
            # A traceback with locals shows what is given to a function.
            values = {**values, "api_key": SecretStr(values["api_key"])}
        for name in values:
            if name not in cls.model_fields:
                near = nearest(name, cls.model_fields)
                hint = f"Did you mean {near!r}?" if near else "To send it as it is, use extra_body="
                raise MlxcelError(f"{cls.__name__} has no option {name!r}. {hint}")
        return values

    @field_validator("model", "socket", mode="before")
    @classmethod
    def _take_paths(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("stop", mode="before")
    @classmethod
    def _take_one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _set_connection(self) -> Self:
        self._connect()
        return self

    def _connect(self) -> None:
        """Check where the model is; nothing is started or asked yet."""
        given = {
            name: value
            for name, field in ServerOptions.model_fields.items()
            if (value := getattr(self, name)) != field.default
        }
        self._connection = Connection(
            self.model,
            base_url=self.base_url,
            socket=self.socket,
            api_key=hidden(self.api_key.get_secret_value()) if self.api_key else None,
            served_model=self.served_model,
            timeout=self.timeout,
            max_retries=self.max_retries,
            check_context=self.check_context,
            server_options=given,
        )
        self._llm = LLM.over(self._connection)
        self._async_llm = AsyncLLM.over(self._connection)

    @model_validator(mode="after")
    def _set_mlxcel_version(self) -> Self:
        self._add_version("mlxcel-integrations", __version__)
        return self

    def start(self) -> Self:
        """Start the managed server now instead of on first use; nothing in connect mode.

        Raises:
            MlxcelServerError: It did not start.
        """
        self._llm.start()
        return self

    async def astart(self) -> Self:
        """Start the managed server without blocking the event loop."""
        await self._async_llm.start()
        return self

    def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        self._llm.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop and give the managed server back."""
        await self._async_llm.close()
        self._llm.close()

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, as the server gives them."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with _langchain_errors():
            return self._llm.tokenize(text)

    async def aget_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, as the server gives them."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with _langchain_errors():
            return await self._async_llm.tokenize(text)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of a text's tokens."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        with _langchain_errors():
            return self._llm.count_tokens(text)

    async def aget_num_tokens(self, text: str) -> int:
        """Return the number of a text's tokens."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        with _langchain_errors():
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
        wire, sampling = to_wire(messages), self._sampling(None, _tools(tools))
        try:
            with _langchain_errors():
                return self._llm.count_message_tokens(wire, **sampling) if wire else 0
        except _NO_CONVERSATION as error:
            parts = counted_apart(wire, sampling, error)
            with _langchain_errors():
                count = self._llm.count_message_tokens
                return sum([count(one, **more) for one, more in parts])

    async def aget_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens of the prompt that messages become.

        See ``get_num_tokens_from_messages``.
        """
        wire, sampling = to_wire(messages), self._sampling(None, _tools(tools))
        try:
            with _langchain_errors():
                return await self._async_llm.count_message_tokens(wire, **sampling) if wire else 0
        except _NO_CONVERSATION as error:
            parts = counted_apart(wire, sampling, error)
            with _langchain_errors():
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
        with _langchain_errors():
            sampling = self._sampling(None, _tools(tools))
            kept = self._llm.prepare_fit(to_wire(messages), reserve, sampling)
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
        with _langchain_errors():
            sampling = self._sampling(None, _tools(tools))
            kept = await self._async_llm.prepare_fit(to_wire(messages), reserve, sampling)
        return [messages[index] for index in kept]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.astart()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a copy that shares the connection."""
        return self.model_copy()

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the connection, which is made anew, and the key, which is read again."""
        state = super().__getstate__()
        fields = {**state["__dict__"], "api_key": None}
        return {**state, "__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__({**state, "__pydantic_private__": {}})
        self._connect()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _langchain_errors():
            request = self._llm.prepare_chat(to_wire(messages), self._sampling(stop, kwargs))
            return to_result(fold(self._llm.stream_deltas(request)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with _langchain_errors():
            sampling = self._sampling(stop, kwargs)
            request = await self._async_llm.prepare_chat(to_wire(messages), sampling)
            deltas = self._async_llm.stream_deltas(request)
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
        with _langchain_errors():
            request = self._llm.prepare_chat(to_wire(messages), self._sampling(stop, kwargs))
            for delta in self._llm.stream_deltas(request):
                if tail.take(delta):
                    yield to_chunk(delta)
        yield tail.chunk(usage=usage)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        usage = kwargs.pop("stream_usage", self.stream_usage)
        tail = Tail()
        with _langchain_errors():
            sampling = self._sampling(stop, kwargs)
            request = await self._async_llm.prepare_chat(to_wire(messages), sampling)
            async with contextlib.aclosing(self._async_llm.stream_deltas(request)) as deltas:
                async for delta in deltas:
                    if tail.take(delta):
                        yield to_chunk(delta)
        yield tail.chunk(usage=usage)

    def _sampling(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        """Put the fields of a request together: a call's beat the constructor's."""
        sampling = {**self._own_sampling, **call}
        for name in _NOT_SENT:
            sampling.pop(name, None)
        if stop is not None:
            sampling["stop"] = stop
        reasoning = sampling.pop("reasoning", self.reasoning)
        if reasoning is not None:
            sampling["chat_template_kwargs"] = {
                **_thinking(reasoning),
                **(sampling.get("chat_template_kwargs") or {}),
            }
        return sampling

    @property
    def _own_sampling(self) -> dict[str, Any]:
        """The sampling fields that the constructor was given."""
        fields = self.__dict__
        return {
            name: fields[name] for name in SamplingParams.model_fields if fields[name] is not None
        }

    @property
    def _llm_type(self) -> str:
        return "mlxcel-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What tells two models apart: where they are and how they sample."""
        return {
            "model": self.model,
            "address": repr(self._connection),
            "served_model": self.served_model,
            "reasoning": self.reasoning,
            **self._own_sampling,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = PROVIDER
        if not params.get("ls_model_name"):
            params["ls_model_name"] = self._connection.model_name or repr(self._connection)
        return params


_NO_CONVERSATION = (MlxcelError, langchain.ModelInvalidRequestError)
"""What says that a template does not take some messages together, at best."""


def _tools(tools: Sequence[Any] | None) -> dict[str, Any]:
    """Return the field of a request for tools, in the form that goes over the wire."""
    return {"tools": [convert_to_openai_tool(tool) for tool in tools]} if tools else {}


_NOT_SENT = ("stream", "stream_usage", "streaming")
"""Keywords that LangChain passes through, which are no fields of a request."""


def _thinking(reasoning: bool | str) -> dict[str, Any]:
    """Return the variables of the chat template that switch thinking on or off.

    The one way that every server version understands.
    """
    if isinstance(reasoning, bool):
        return {"enable_thinking": reasoning}
    if reasoning in ("none", "off"):
        return {"enable_thinking": False}
    return {"enable_thinking": True, "reasoning_effort": reasoning}


@contextlib.contextmanager
def _langchain_errors() -> Iterator[None]:
    """Raise errors that are LangChain's too."""
    try:
        yield
    except MlxcelError as error:
        dual = own_to_langchain(error).with_traceback(error.__traceback__)
        raise dual from error.__cause__
    except Exception as error:
        if not type(error).__module__.startswith("openai"):
            raise
        from .errors import to_langchain

        raise to_langchain(error).with_traceback(error.__traceback__) from error.__cause__
