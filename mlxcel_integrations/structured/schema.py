"""Schemas: a JSON schema for the server, and the reading of answers by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from ..errors import StructuredOutputError, StructuredOutputTruncated
from ..protocol.answers.delta import CUT_REASONS
from ..protocol.schemas.json_schema import pointer
from ..protocol.validation import parsed
from .partial_json import MAX_JSON_DEPTH, MISSING, IncrementalJSON, is_deep

__all__ = ["Schema", "SchemaMismatch"]

T = TypeVar("T")


class SchemaMismatch(Exception):
    """A value does not fit a schema.

    Args:
        path: Where in the value.
        reason: Why.
    """

    def __init__(self, path: Iterable[object], reason: str) -> None:
        super().__init__(reason)
        self.path = path


@dataclass(frozen=True, slots=True)
class Schema(Generic[T]):
    """The schema of an answer.

    Attributes:
        name: Its name for the server: letters, digits, ``_`` and ``-``.
        json_schema: The JSON schema for the server; an object at its top.
        wrapped: Whether the answer holds the value in a property ``value``, since values of the
            output type are not JSON objects.
        output_type: A type, or a JSON schema.
        read: Turns JSON values into values of the output type.
    """

    name: str
    json_schema: dict[str, Any]
    wrapped: bool
    output_type: Any
    read: Callable[[Any], T]

    @property
    def response_format(self) -> dict[str, Any]:
        """The field of a request that makes the server keep to the schema."""
        inner = {"name": self.name, "schema": self.json_schema, "strict": True}
        return {"type": "json_schema", "json_schema": inner}

    def validate(self, text: str, finish_reason: str | None = None) -> T:
        """Return the value of an answer.

        Args:
            text: The whole answer.
            finish_reason: Why the server ended it, for the error.

        Raises:
            StructuredOutputTruncated: It ends before its JSON does.
            StructuredOutputError: It is not JSON, or does not fit.
        """
        try:
            answer = parsed(text)
        except (ValueError, RecursionError):
            self._raise_unreadable(text, finish_reason)
        try:
            if is_deep(answer):
                raise SchemaMismatch((), f"it is nested deeper than {MAX_JSON_DEPTH} levels")
            value = self.unwrapped(answer)
            if value is MISSING:
                raise SchemaMismatch((), "it is not an object with the property 'value'")
            return self._read(value)
        except SchemaMismatch as mismatch:
            place, reason = pointer(mismatch.path), _shortened(str(mismatch))
            raise StructuredOutputError(
                f"The answer does not fit the schema {self.name!r} at {place}: {reason}. It is in "
                ".raw; ask again, or loosen the schema there.",
                raw=text,
                finish_reason=finish_reason,
                problem=f"it does not fit the schema at {place}: {reason}",
            ) from mismatch.__cause__

    def unwrapped(self, answer: Any) -> Any:
        """Return the value in an answer, or in a part of one; ``MISSING`` if there is none yet."""
        if not self.wrapped:
            return answer
        return answer.get("value", MISSING) if isinstance(answer, dict) else MISSING

    def _read(self, value: Any) -> T:
        try:
            return self.read(value)
        except (OverflowError, RecursionError) as error:  # in the class that reads it
            raise SchemaMismatch(
                (), f"it has a number or a depth that is too large: {error}"
            ) from error

    def _raise_unreadable(self, text: str, finish_reason: str | None) -> NoReturn:
        begun = _truncated_value(text)
        if begun is MISSING and finish_reason not in CUT_REASONS:
            advice = "Check that the server supports response_format with a json_schema."
            if finish_reason == "refusal":
                advice = "The model refused to answer: change the prompt, or ask another model."
            raise StructuredOutputError(
                f"The answer is not JSON: {_shortened(text)!r}. {advice}",
                raw=text,
                finish_reason=finish_reason,
            )
        partial = self.unwrapped(begun)
        parts = "Its text is in .raw, and its readable part in .partial"
        if finish_reason == "repetition":
            message = (
                "The answer was stopped before its JSON was complete: the model wrote only white "
                f"space, or the same text over and over. {parts}; limit its texts and lists "
                "(maxLength, maxItems), ask for less, or pass bounded=False to let it go on."
            )
        elif finish_reason == "length":
            message = (
                f"The answer was cut before its JSON ended (finish_reason 'length'). {parts}; "
                "raise max_tokens, or ask for less."
            )
        else:
            # Some models end early, and mlxcel up to v0.4.2 does not keep them from it.
            message = (
                "The server ended the answer before its JSON did (finish_reason "
                f"{finish_reason!r}). {parts}; ask again, or change the prompt or stop=."
            )
        raise StructuredOutputTruncated(
            message,
            raw=text,
            finish_reason=finish_reason,
            problem="it was too long" if finish_reason in CUT_REASONS else "it was not complete",
            partial=None if partial is MISSING else partial,
        )


def _truncated_value(text: str) -> Any:
    """Return the value of JSON that was cut off, ``MISSING`` for any other text."""
    parser = IncrementalJSON()
    try:
        parser.feed(text)
    except (ValueError, RecursionError):
        return MISSING
    return MISSING if parser.done else parser.value


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"
