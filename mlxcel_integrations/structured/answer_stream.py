"""Streamed answers that keep to a schema: deltas in, objects that fill out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..protocol.answers.delta import Delta
from .partial_json import MISSING, IncrementalJSON

if TYPE_CHECKING:
    from .schema import Schema

__all__ = ["AnswerStream"]

STEPS = 3000
"""A partial value is built each time the text has grown by 1/3000."""

CHECK_GROWTH = 1.02
"""A partial value is validated each time their number has grown by 2 %."""


class AnswerStream:
    """Read a streamed answer as values of a schema, each more complete than the one before.

    ``feed`` it the deltas, and ``close`` it when they end, which returns the whole, validated
    value. Each value is built from all of the text so far. In a long answer not every delta gives
    one, so that the time for all of them stays proportional to its length.

    Args:
        schema: Schema of the answer.
        partial: Whether to return objects of a type before they are valid, with None for fields
            that have not come. Otherwise only valid objects are returned. A JSON schema always
            gives partial values.
    """

    def __init__(self, schema: Schema[Any], *, partial: bool) -> None:
        self._schema = schema
        self._parser: IncrementalJSON | None = IncrementalJSON()
        self._make = _object_maker(schema, partial)
        self._text: list[str] = []
        self._length, self._due = 0, 0
        self._finish_reason: str | None = None
        self._last: Any = MISSING

    def feed(self, delta: Delta) -> Iterable[Any]:
        """Take a delta and return the value so far, if it is a new one."""
        self._finish_reason = delta.finish_reason or self._finish_reason
        if not delta.text:
            return ()
        self._text.append(delta.text)
        self._length += len(delta.text)
        value = self._new_value(delta.text)
        return () if value is MISSING else (value,)

    def close(self) -> Sequence[Any]:
        """Return the value of the whole answer.

        Raises:
            StructuredOutputError: The answer does not fit the schema.
        """
        return (self._schema.validate("".join(self._text), self._finish_reason),)

    def _new_value(self, text: str) -> Any:
        try:
            if self._parser is None or not self._parser.feed(text):
                return MISSING
        except ValueError:
            # ``close`` says what is wrong, about the whole answer.
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


def _object_maker(schema: Schema[Any], partial: bool) -> Callable[[Any], Any]:
    """Return the function that makes an object of the JSON so far, or ``MISSING``."""
    if isinstance(schema.output_type, dict):
        return lambda value: value
    if not partial:
        return _valid_only(schema)
    from .partial_objects import partial_objects

    return partial_objects(schema.output_type)


def _valid_only(schema: Schema[Any]) -> Callable[[Any], Any]:
    """Return a function that returns the objects which are valid already.

    The more has come, the longer validation takes. It is done less and less often, so that the
    time for all of it stays proportional to the length of the answer.
    """
    seen, due = 0, 0.0

    def make(value: Any) -> Any:
        nonlocal seen, due
        seen += 1
        if seen < due:
            return MISSING
        due = seen * CHECK_GROWTH
        try:
            return schema.read(value)
        except Exception:  # noqa: BLE001 - a validator may not expect an incomplete value
            return MISSING

    return make
