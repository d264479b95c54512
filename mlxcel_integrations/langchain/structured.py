"""Structured output of ``ChatMlxcel``: answers that keep to a schema, as LangChain reads them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Literal, get_args

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.function_calling import convert_to_json_schema

from ..adapters import HasClients
from ..errors import MlxcelError
from ..protocol.stream import Delta
from ..structured.answer_stream import AnswerStream
from ..structured.request import normalized_format
from ..structured.schema import Schema
from ..structured.type_schema import is_typed_dict
from .base import Batches
from .error_translation import langchain_errors

__all__ = [
    "Method",
    "StructuredModel",
    "check_arguments",
    "traced_format",
    "with_normalized_schema",
]

Method = Literal["json_schema", "json_mode", "function_calling"]


def check_arguments(method: str, *, tools: bool, include_raw: bool) -> None:
    """Check arguments of ``with_structured_output`` that type checkers may not have seen.

    Raises:
        MlxcelError: The method is unknown, or the calls of tools would be lost.
    """
    if method not in get_args(Method):
        known = ", ".join(get_args(Method))
        raise MlxcelError(f"method={method!r} is unknown: leave it out, or pass one of {known}.")
    if tools and not include_raw:
        raise MlxcelError(
            "With tools, the answer may be a tool call, which only the message holds: "
            "pass include_raw=True."
        )


def traced_format(
    output_type: Any, schema: Schema[Any], method: str, strict: bool | None
) -> dict[str, Any]:
    """Return the output format in the form in which LangChain's callbacks expect it."""
    arguments = {"method": method, "strict": strict}
    return {"kwargs": arguments, "schema": _traced_schema(output_type, schema)}


def _traced_schema(output_type: Any, schema: Schema[Any]) -> dict[str, Any]:
    ours = {"title": schema.name, **schema.json_schema}
    if not isinstance(output_type, type | dict):
        return ours  # before 1.7.2 langchain-core takes a Literal for a function
    try:
        return convert_to_json_schema(output_type)
    except Exception:  # noqa: BLE001 - LangChain converts few types, and has many ways to refuse
        return ours


def with_normalized_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a request whose ``response_format`` other code has made, as agents do.

    Raises:
        MlxcelError: No server accepts the schema.
    """
    given = fields.get("response_format")
    if not isinstance(given, Mapping) or given.get("type") != "json_schema":
        return dict(fields)
    return {"show_schema": True, **fields, "response_format": normalized_format(given)}


class RawAnswer(dict[str, Any]):
    """A part of a streamed answer with ``include_raw``.

    ``raw`` is what the part adds, the other items are the latest. LangChain adds parts up, and
    would make a list out of two versions of an object.
    """

    def __add__(self, later: Mapping[str, Any]) -> RawAnswer:
        raw = {"raw": self["raw"] + later["raw"]} if "raw" in self and "raw" in later else {}
        return RawAnswer({**self, **later, **raw})


class GrowingList(list[Any]):
    """A streamed list so far. LangChain adds parts up; a later list replaces this one."""

    def __add__(self, later: list[Any]) -> list[Any]:
        return later if isinstance(later, GrowingList) else super().__add__(later)


class StructuredModel(Batches[LanguageModelInput, Any]):
    """A model whose answers are objects of a type, or JSON.

    It adds no run to traces, unlike a sequence of a model and a parser, which would take several
    times as long as reading the answer.

    Args:
        model: The model, bound to the schema.
        schema: Schema of the answers.
        clients: The object that has the clients of the model's server.
        partial: Whether to stream objects of a type before they are valid.
        include_raw: Whether to return the message, too, and an error instead of raising it.
    """

    def __init__(
        self,
        model: Runnable[LanguageModelInput, AIMessage],
        schema: Schema[Any],
        clients: HasClients,
        *,
        partial: bool,
        include_raw: bool,
    ) -> None:
        self._llm, self._async_llm = clients._llm, clients._async_llm
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
        """Return the object that the model answers."""
        return self._read(self.model.invoke(input, config, **kwargs))

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object that the model answers."""
        return self._read(await self.model.ainvoke(input, config, **kwargs))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the object that the model answers, as it grows."""
        reader = _AnswerReader(self)
        for chunk in self.model.stream(input, config, **kwargs):
            yield from reader.feed(chunk)
        yield reader.close()

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield the object that the model answers, as it grows."""
        reader = _AnswerReader(self)
        chunks: Any = self.model.astream(input, config, **kwargs)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                for value in reader.feed(chunk):
                    yield value
        yield reader.close()

    def _read(self, message: AIMessage) -> Any:
        outcome = self.outcome(
            lambda: self.schema.validate(message.text, _finish_reason(message)),
            called=_has_calls(message),
        )
        return {"raw": message, **outcome} if self.include_raw else outcome

    def outcome(self, read: Callable[[], Any], *, called: bool) -> Any:
        """Return the object in an answer; with ``include_raw``, in a dictionary, or its error.

        Args:
            read: Reads the object.
            called: Whether the answer is the call of a tool instead.
        """
        if not self.include_raw:
            with langchain_errors():
                return read()
        try:
            with langchain_errors():
                return {"parsed": None if called else read(), "parsing_error": None}
        except Exception as error:  # noqa: BLE001 - also of a validator of the class
            return {"parsed": None, "parsing_error": error}


class _AnswerReader:
    """Reads a streamed answer: ``feed`` it the chunks, and ``close`` it at the end."""

    def __init__(self, model: StructuredModel) -> None:
        self._model = model
        self._answer = AnswerStream(model.schema, partial=model.partial)
        self._called = False

    def feed(self, chunk: AIMessage) -> Iterator[Any]:
        """Yield the values to show with a chunk."""
        self._called = self._called or _has_calls(chunk)
        delta = Delta(chunk.text, finish_reason=_finish_reason(chunk))
        values = [_streamed(value) for value in self._answer.feed(delta)]
        if self._model.include_raw:
            yield RawAnswer(raw=chunk, parsed=values[-1]) if values else RawAnswer(raw=chunk)
            return
        # A chain would add a text or a number to the one before, so it is shown once, at the end.
        yield from (value for value in values if _replaces(value))

    def close(self) -> Any:
        """Return the value to show at the end."""
        outcome = self._model.outcome(lambda: self._answer.close()[0], called=self._called)
        return RawAnswer(outcome) if self._model.include_raw else _streamed(outcome)


def _finish_reason(message: AIMessage) -> str | None:
    return message.response_metadata.get("finish_reason")


def _has_calls(message: AIMessage) -> bool:
    parts = message.tool_call_chunks if isinstance(message, AIMessageChunk) else ()
    return bool(parts or message.tool_calls or message.invalid_tool_calls)


def _streamed(value: Any) -> Any:
    return GrowingList(value) if type(value) is list else value


def _replaces(value: Any) -> bool:
    """Tell whether LangChain, which adds streamed parts up, replaces one by this value instead."""
    return isinstance(value, GrowingList) or not hasattr(value, "__add__")
