"""Parser of structured answers: reads messages, whole or streamed, as objects of a type or JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import create_model

from ..protocol.answers.delta import Delta
from ..structured.answer_stream import AnswerStream
from ..structured.schema import Schema
from ..structured.type_schema import is_typed_dict, to_schema
from ..transport.owned_generator import OwnedGenerator
from .error_translation import langchain_errors

__all__ = ["AnswerParser", "RawAnswer"]


class RawAnswer(dict[str, Any]):
    """A part of a streamed answer with ``include_raw``.

    ``raw`` is only what this part adds; the other items are the latest values. LangChain adds
    parts up, and would turn two versions of an object into a list. A new attempt replaces the last.

    Attributes:
        attempt: Number of the attempt that the part belongs to.
    """

    attempt = 1

    def __add__(self, later: Mapping[str, Any]) -> RawAnswer:
        attempt = getattr(later, "attempt", self.attempt)
        if attempt > self.attempt:
            total = RawAnswer(later)
        else:
            raw = {"raw": self["raw"] + later["raw"]} if "raw" in self and "raw" in later else {}
            total = RawAnswer({**self, **later, **raw})
        total.attempt = attempt
        return total


class GrowingList(list[Any]):
    """A list as streamed so far; the next one replaces it, where LangChain would add the two."""

    def __add__(self, later: list[Any]) -> list[Any]:
        return later if isinstance(later, GrowingList) else super().__add__(later)


class AnswerParser(Runnable[AIMessage, Any]):
    """Reads messages as objects of a type, or as JSON; streamed objects fill up as they arrive.

    Args:
        schema: Schema of the answers.
        partial: Whether to stream objects of a type before they are valid.
        include_raw: Whether to return the message as well, and any error instead of raising it.
    """

    def __init__(self, schema: Schema[Any], *, partial: bool, include_raw: bool) -> None:
        # Readers of traces look for the names of LangChain's own parsers.
        self.name = "JsonOutputParser" if _is_json(schema) else "PydanticOutputParser"
        self.schema = schema
        self.partial = partial or is_typed_dict(schema.output_type)
        self.include_raw = include_raw

    def invoke(
        self,
        input: AIMessage,  # noqa: A002 - LangChain's name, as below
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object in a message."""
        if not _is_observed(config):
            return self.read(input)
        return self._call_with_config(self.read, input, config, run_type="parser")

    async def ainvoke(
        self,
        input: AIMessage,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object in a message."""

        async def read(message: AIMessage) -> Any:
            return self.read(message)

        if not _is_observed(config):
            return self.read(input)
        return await self._acall_with_config(read, input, config, run_type="parser")

    def transform(
        self,
        input: Iterator[AIMessage],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the object in a streamed message, as it grows."""
        if not _is_observed(config):
            yield from self.read_chunks(input)
            return
        chunks = _AbandonableChunks(input)
        objects: Any = self._transform_stream_with_config(
            chunks, self.read_chunks, config, run_type="parser"
        )
        try:
            for value in objects:  # noqa: UP028 - closed below, after the chunks are left
                yield value
        finally:
            chunks.leave()
            objects.close()

    async def atransform(
        self,
        input: AsyncIterator[AIMessage],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield the object in a streamed message, as it grows."""
        if not _is_observed(config):
            objects: Any = self.aread_chunks(input)
            async with OwnedGenerator(objects) as values:
                async for value in values:
                    yield value
            return
        stream: Any = input
        async with OwnedGenerator(stream) as chunks:
            objects = self._atransform_stream_with_config(
                _UnclosedChunks(chunks), self.aread_chunks, config, run_type="parser"
            )
            async with OwnedGenerator(objects) as values:
                async for value in values:
                    yield value

    def read(self, message: AIMessage) -> Any:
        """Return the object in a message."""
        outcome = self.outcome(
            lambda: self.schema.validate(message.text, _finish_reason(message)),
            called=_has_calls(message),
        )
        return {"raw": message, **outcome} if self.include_raw else outcome

    def read_chunks(self, chunks: Iterator[AIMessage]) -> Iterator[Any]:
        """Yield the object in the chunks of a message, as it grows."""
        reader = _AnswerReader(self)
        for chunk in chunks:
            yield from reader.feed(chunk)
        yield reader.close()

    async def aread_chunks(self, chunks: AsyncIterator[AIMessage]) -> AsyncIterator[Any]:
        """Yield the object in the chunks of a message, as it grows."""
        reader = _AnswerReader(self)
        stream: Any = chunks
        async with OwnedGenerator(stream) as owned:
            async for chunk in owned:
                for value in reader.feed(chunk):
                    yield value
        yield reader.close()

    def outcome(self, read: Callable[[], Any], *, called: bool) -> Any:
        """Return the object in an answer; with ``include_raw``, a dictionary with it or its error.

        Args:
            read: Reads the object.
            called: Whether the answer is a tool call instead.
        """
        if not self.include_raw:
            with langchain_errors:
                return read()
        try:
            with langchain_errors:
                return {"parsed": None if called else read(), "parsing_error": None}
        except Exception as error:  # noqa: BLE001 - a validator of the class may raise any
            return {"parsed": None, "parsing_error": error}

    @property
    def OutputType(self) -> Any:
        """The type of the objects, ``Any`` for JSON."""
        return Any if _is_json(self.schema) else self.schema.output_type

    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        """Return the type of the results as a Pydantic model."""
        if self.include_raw:
            types = {"raw": AIMessage, "parsed": self.OutputType, "parsing_error": Any}
            fields: Any = {name: (kind, ...) for name, kind in types.items()}
            return create_model("StructuredAnswer", **fields)
        return super().get_output_schema(config)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the type, since the functions made from it cannot be pickled."""
        return _make_parser, (self.schema.output_type, self.partial, self.include_raw)


def _make_parser(output_type: Any, partial: bool, include_raw: bool) -> AnswerParser:
    return AnswerParser(to_schema(output_type), partial=partial, include_raw=include_raw)


def _is_json(schema: Schema[Any]) -> bool:
    return isinstance(schema.output_type, dict) or is_typed_dict(schema.output_type)


class _AbandonableChunks:
    """The chunks of a message, until the reader leaves them.

    To trace a whole stream, LangChain reads on after its reader has left, so the server would go on
    generating.
    """

    def __init__(self, chunks: Iterator[AIMessage]) -> None:
        self._chunks = chunks
        self._left = False

    def __iter__(self) -> Iterator[AIMessage]:
        return self

    def __next__(self) -> AIMessage:
        if self._left:
            raise StopIteration
        return next(self._chunks)

    def leave(self) -> None:
        """End the stream here."""
        self._left = True


class _AnswerReader:
    """Reads a streamed answer: ``feed`` it the chunks, and ``close`` it at the end."""

    def __init__(self, parser: AnswerParser) -> None:
        self._parser = parser
        self._answer = AnswerStream(parser.schema, partial=parser.partial)
        self._called = False

    def feed(self, chunk: AIMessage) -> Iterator[Any]:
        """Yield the values to show with a chunk."""
        self._called = self._called or _has_calls(chunk)
        delta = Delta(chunk.text, finish_reason=_finish_reason(chunk))
        values = [_as_growing(value) for value in self._answer.feed(delta)]
        if self._parser.include_raw:
            yield RawAnswer(raw=chunk, parsed=values[-1]) if values else RawAnswer(raw=chunk)
            return
        # A chain would add each text or number to the last, so it is shown once, at the end.
        yield from (value for value in values if _replaces_earlier(value))

    def close(self) -> Any:
        """Return the value to show at the end."""
        outcome = self._parser.outcome(lambda: self._answer.close()[0], called=self._called)
        return RawAnswer(outcome) if self._parser.include_raw else _as_growing(outcome)


def _is_observed(config: RunnableConfig | None) -> bool:
    """Return whether anything may observe a run; sequences pass observers on in the config."""
    manager = (config or {}).get("callbacks")
    return not isinstance(manager, BaseCallbackManager) or bool(manager.handlers)


def _finish_reason(message: AIMessage) -> str | None:
    return message.response_metadata.get("finish_reason")


def _has_calls(message: AIMessage) -> bool:
    parts = message.tool_call_chunks if isinstance(message, AIMessageChunk) else ()
    return bool(parts or message.tool_calls or message.invalid_tool_calls)


def _as_growing(value: Any) -> Any:
    return GrowingList(value) if type(value) is list else value


def _replaces_earlier(value: Any) -> bool:
    """Return whether LangChain replaces a streamed part by this value instead of adding it."""
    return isinstance(value, GrowingList) or not hasattr(value, "__add__")


class _UnclosedChunks(AsyncIterator[AIMessage]):
    """The chunks of a message, for a reader that must not close them.

    LangChain copies a stream for its traces. The copy closes the stream when it is collected,
    perhaps while the owner is closing it, too.
    """

    def __init__(self, chunks: AsyncIterator[AIMessage]) -> None:
        self._chunks = chunks

    def __anext__(self) -> Awaitable[AIMessage]:
        return self._chunks.__anext__()
