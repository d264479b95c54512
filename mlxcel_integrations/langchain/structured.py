"""Structured output for ``ChatMlxcel``: answers that keep to a schema, read as LangChain wants."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.function_calling import convert_to_json_schema

from ..errors import MlxcelError
from ..protocol.sampling import without_thinking
from ..protocol.stream import Delta
from ..structured.answer_stream import AnswerStream
from ..structured.request import normalized_format, with_schema_shown
from ..structured.schema import Schema
from ..structured.type_schema import is_typed_dict, to_schema
from .batches import Batches
from .error_translation import langchain_errors
from .tools import ToolLike, tool_fields

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from ..async_client import AsyncLLM
    from ..client import LLM

__all__ = ["Structured", "Wire", "answer_fields", "asked"]

Method = Literal["json_schema", "json_mode", "function_calling"]
Wire = str | Sequence[Mapping[str, Any]]


class Structured:
    """A chat model whose answers keep to a schema, without tools.

    No Pydantic class of its own: building one more takes a quarter of the adapter's import.
    """

    if TYPE_CHECKING:
        _llm: LLM
        _async_llm: AsyncLLM

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
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return this model with answers that are objects of a type, or JSON that fits a schema.

        The server generates nothing but what fits, and the answer is checked when it is there.

        Args:
            schema: A Pydantic class (of version 1, too), dataclass, ``TypedDict``, ``Enum``,
                ``Literal``, or another type, such as lists, unions and optionals of these; or a
                JSON schema, an OpenAI function or tool, ``{"name", "schema"}``, or a whole
                ``response_format``.
            method: Taken for compatibility; all methods ask for a JSON schema, and none uses
                tools.
            include_raw: Whether to return a dictionary of ``raw``, the message, ``parsed``, the
                object, and ``parsing_error``, and not to raise if the answer does not fit.
            strict: Taken for compatibility; answers always keep to the schema.
            tools: Tools that the model may call instead, with ``include_raw``.
            show_schema: Whether the schema is put before the model, in the system message.
            partial: Whether ``stream`` yields objects of a type at every new value, before they
                are valid, with None for what has not come. JSON schemas and ``TypedDict``
                always stream what has come.
            **kwargs: Further fields of the requests.

        Raises:
            MlxcelError: The schema is none, or one that no server takes; or an argument is wrong.
        """
        if method not in get_args(Method):
            known = ", ".join(get_args(Method))
            raise MlxcelError(f"method={method!r} is unknown; there are {known}.")
        if tools and not include_raw:
            raise MlxcelError(
                "With tools, the answer may be a call of one, which only the message tells: "
                "pass include_raw=True."
            )
        read = to_schema(schema)
        told = {
            "kwargs": {"method": method, "strict": strict},
            "schema": _told(schema, read),
        }
        fields = tool_fields(tools, None, None, strict) if tools else {}
        bound = cast("BaseChatModel", self).bind(
            response_format=read.response_format,
            show_schema=show_schema,
            ls_structured_output_format=told,
            **fields,
            **kwargs,
        )
        clients = self._llm, self._async_llm
        return StructuredModel(bound, read, clients, partial=partial, include_raw=include_raw)


def _told(kind: Any, schema: Schema[Any]) -> dict[str, Any]:
    """Return the schema that callbacks are told."""
    ours = {"title": schema.name, **schema.json_schema}
    if not isinstance(kind, type | dict):
        return ours  # before 1.7.2 langchain-core takes a Literal for a function
    try:
        return convert_to_json_schema(kind)
    except Exception:  # noqa: BLE001 - LangChain converts few kinds, and says so in many ways
        return ours


def answer_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a request whose ``response_format`` was made elsewhere, as by an agent.

    Raises:
        MlxcelError: The schema is one that no server takes.
    """
    given = fields.get("response_format")
    if not isinstance(given, Mapping) or given.get("type") != "json_schema":
        return dict(fields)
    return {"show_schema": True, **fields, "response_format": normalized_format(given)}


def asked(messages: Wire, sampling: Mapping[str, Any]) -> tuple[Wire, dict[str, Any]]:
    """Return messages and fields of a request as they are sent.

    ``show_schema`` is no field of a request, but marks one whose answer is read by its schema.
    """
    fields = dict(sampling)
    show = fields.pop("show_schema", None)
    if show is None:
        return messages, fields
    if show:
        schema = fields["response_format"]["json_schema"]["schema"]
        messages = with_schema_shown(schema, messages, tools=bool(fields.get("tools")))
    return messages, without_thinking(fields)


class RawAnswer(dict[str, Any]):
    """What a streamed answer adds to ``raw``, and the newest of the rest.

    LangChain adds up what is streamed, and would make one list of two versions of it.
    """

    def __add__(self, later: Mapping[str, Any]) -> RawAnswer:
        raw = {"raw": self["raw"] + later["raw"]} if "raw" in self and "raw" in later else {}
        return RawAnswer({**self, **later, **raw})


class Growing(list[Any]):
    """A list as far as it has come; with a later one added, it is that one."""

    def __add__(self, later: list[Any]) -> list[Any]:
        return later if isinstance(later, Growing) else super().__add__(later)


class StructuredModel(Batches[LanguageModelInput, Any]):
    """A model whose answers are read as a schema says.

    It makes no run of its own in traces, unlike a sequence of a model and a parser: that would
    take several times as long as the reading.

    Args:
        model: The model, bound to answer by the schema.
        schema: What the answers must look like.
        clients: The clients of its server, whose slots bound a batch.
        partial: Whether to stream objects of a type before they are valid.
        include_raw: Whether to return the message, too, and an error instead of raising it.
    """

    def __init__(
        self,
        model: Runnable[LanguageModelInput, AIMessage],
        schema: Schema[Any],
        clients: tuple[LLM, AsyncLLM],
        *,
        partial: bool,
        include_raw: bool,
    ) -> None:
        self._llm, self._async_llm = clients
        self.model = model
        self.schema = schema
        self.partial = partial or is_typed_dict(schema.output_type)
        self.include_raw = include_raw

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name, as below
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return what the model answers."""
        return self._read(self.model.invoke(input, config, **kwargs))

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return what the model answers."""
        return self._read(await self.model.ainvoke(input, config, **kwargs))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield what the model answers, as it comes."""
        reading = _Reading(self)
        for chunk in self.model.stream(input, config, **kwargs):
            yield from reading.take(chunk)
        yield reading.end()

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield what the model answers, as it comes."""
        reading = _Reading(self)
        chunks: Any = self.model.astream(input, config, **kwargs)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                for value in reading.take(chunk):
                    yield value
        yield reading.end()

    def _read(self, message: AIMessage) -> Any:
        finish_reason = message.response_metadata.get("finish_reason")
        outcome = self.outcome(
            lambda: self.schema.validate(message.text, finish_reason), called=_calls(message)
        )
        return {"raw": message, **outcome} if self.include_raw else outcome

    def outcome(self, read: Callable[[], Any], *, called: bool) -> Any:
        """Return what comes of reading an answer: the object, or that and the error.

        Args:
            read: Reads it.
            called: Whether it is a call of a tool instead.
        """
        if not self.include_raw:
            with langchain_errors():
                return read()
        try:
            with langchain_errors():
                return {"parsed": None if called else read(), "parsing_error": None}
        except Exception as error:  # noqa: BLE001 - also of a validator of the class
            return {"parsed": None, "parsing_error": error}


class _Reading:
    """A streamed answer that is being read."""

    def __init__(self, model: StructuredModel) -> None:
        self._model = model
        self._answers = AnswerStream(model.schema, partial=model.partial)
        self._called = False

    def take(self, chunk: AIMessage) -> Iterator[Any]:
        """Yield what is to be shown with a part of the message."""
        self._called = self._called or _calls(chunk)
        values = [_streamed(value) for value in self._answers.feed(_delta(chunk))]
        if self._model.include_raw:
            yield RawAnswer(raw=chunk, parsed=values[-1]) if values else RawAnswer(raw=chunk)
            return
        # A text or number would be added to the next one, if a chain goes on: these come once.
        yield from (value for value in values if _replaces(value))

    def end(self) -> Any:
        """Return what is to be shown at the end."""
        outcome = self._model.outcome(lambda: self._answers.close()[0], called=self._called)
        return RawAnswer(outcome) if self._model.include_raw else _streamed(outcome)


def _delta(message: AIMessage) -> Delta:
    return Delta(message.text, finish_reason=message.response_metadata.get("finish_reason"))


def _calls(message: AIMessage) -> bool:
    parts = message.tool_call_chunks if isinstance(message, AIMessageChunk) else ()
    return bool(parts or message.tool_calls or message.invalid_tool_calls)


def _streamed(value: Any) -> Any:
    return Growing(value) if type(value) is list else value


def _replaces(value: Any) -> bool:
    """Tell whether a value is not added to the one before it, when LangChain adds them up."""
    return isinstance(value, Growing) or not hasattr(value, "__add__")
