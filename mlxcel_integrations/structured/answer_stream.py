"""Answers that keep to a schema: what is sent for them, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import MlxcelError
from ..protocol.json_schema import JsonSchema, check_schema_size, compact, normalized
from ..protocol.messages import Messages
from ..protocol.sampling import without_thinking
from ..protocol.stream import Delta
from .partial_json import MISSING, IncrementalJSON
from .partial_objects import partial_objects
from .schema import Schema
from .type_schema import to_schema

__all__ = [
    "AnswerStream",
    "constrained",
    "portable_format",
    "schema_text",
    "with_schema_shown",
]

STEPS = 3000
"""How many values a long answer has while it becomes e times as long."""


def constrained(schema: Schema[Any], sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return sampling fields that make the answer keep to a schema."""
    if sampling.get("response_format") is not None:
        raise MlxcelError("schema and response_format are the same thing: drop one of them.")
    return without_thinking({**sampling, "response_format": schema.response_format})


def portable_format(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``response_format`` as every engine can constrain it.

    For one that was made from a type by somebody else, who will check the answer by the type.

    Raises:
        MlxcelError: It has no schema, or one that no server takes.
    """
    to_schema(given)  # checks it
    inner = given.get("json_schema", {})
    if "schema" not in inner:
        raise MlxcelError(
            f"{given!r:.200} is no response_format that has its schema where servers look for it. "
            'Pass {"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}.'
        )
    schema = normalized(inner["schema"])
    check_schema_size(schema)
    return {**given, "json_schema": {**inner, "schema": schema}}


def with_schema_shown(schema: JsonSchema, messages: Messages, *, tools: bool = False) -> Messages:
    """Return messages with the schema at the end of the system message.

    No server shows it to the model, which answers better when it knows what comes next.

    Args:
        schema: What the answer must look like.
        messages: The conversation.
        tools: Whether the model may call a tool instead.
    """
    text = schema_text(schema, tools=tools)
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not messages or not isinstance(messages[0], Mapping):
        return messages  # refused with the request
    first = messages[0]
    if first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": text}, *messages]
    content = first.get("content") or ""
    if isinstance(content, str):
        content = f"{content}\n\n{text}".lstrip()
    else:
        content = [*content, {"type": "text", "text": text}]
    return [{**first, "content": content}, *messages[1:]]


def schema_text(schema: JsonSchema, *, tools: bool = False) -> str:
    """Return what tells the model the schema of its answer.

    Args:
        schema: The schema.
        tools: Whether the model may call a tool instead.
    """
    intro = "Call a tool, or answer" if tools else "Answer"
    return f"{intro} with JSON that fits this JSON schema:\n{compact(schema)}"


class AnswerStream:
    """Read a streamed answer as values of a schema, each more complete than the one before.

    ``feed`` it the deltas, and ``close`` it when they end, which gives the whole, checked value.
    Each value is made of all that has come. So that the time for a long answer stays in
    proportion to its length, there is one for each ``STEPS``th by which it has grown.

    Args:
        schema: What the answer must look like.
        partial: Whether to give objects of a type before they are valid, with None for what has
            not come. Otherwise only those are given that fit, and in a long answer not each of
            them. JSON schemas always give what has come.
    """

    def __init__(self, schema: Schema[Any], *, partial: bool) -> None:
        self._schema = schema
        self._parser: IncrementalJSON | None = IncrementalJSON()
        self._make: Callable[[Any], Any] = lambda value: value
        if not isinstance(schema.kind, dict):
            self._make = partial_objects(schema.kind) if partial else _fitting(schema)
        self._text: list[str] = []
        self._length, self._due = 0, 0
        self._finish_reason: str | None = None
        self._last: Any = MISSING

    def feed(self, delta: Delta) -> Iterable[Any]:
        """Take a delta and return the value that is known now, if there is a new one."""
        self._finish_reason = delta.finish_reason or self._finish_reason
        if not delta.text:
            return ()
        self._text.append(delta.text)
        self._length += len(delta.text)
        value = self._known(delta.text)
        return () if value is MISSING else (value,)

    def close(self) -> Sequence[Any]:
        """Return the value of the whole answer.

        Raises:
            StructuredOutputError: It does not fit the schema.
        """
        return (self._schema.validate("".join(self._text), self._finish_reason),)

    def _known(self, text: str) -> Any:
        try:
            if self._parser is None or not self._parser.feed(text):
                return MISSING
        except ValueError:
            # What is wrong is told once the whole answer is known.
            self._parser = None
            return MISSING
        if self._length < self._due:
            return MISSING
        self._due = self._length + self._length // STEPS
        value = self._schema.unwrapped(self._parser.value)
        if value is not MISSING:
            value = self._make(value)
        if value is MISSING or value == self._last:
            return MISSING
        self._last = value
        return value


def _fitting(schema: Schema[Any]) -> Callable[[Any], Any]:
    """Return what gives those values that fit already.

    Checking takes the longer the more has come. A long answer is checked whenever it has grown
    by a fiftieth, so that the time for all of it stays in proportion to its length.
    """
    seen, due = 0, 0.0

    def check(value: Any) -> Any:
        nonlocal seen, due
        seen += 1
        if seen < due:
            return MISSING
        due = seen * 1.02
        try:
            return schema.read(value)
        except Exception:  # noqa: BLE001 - a validator may not expect what is not whole
            return MISSING

    return check
