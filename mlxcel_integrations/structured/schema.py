"""What an answer must look like: a JSON schema for the server, and how the answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from ..errors import StructuredOutputError, StructuredOutputTruncated
from ..protocol.json_schema import pointer
from .partial_json import MISSING, IncrementalJSON

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
    """What an answer must look like.

    Attributes:
        name: Its name for the server: letters, digits, ``_`` and ``-``.
        json_schema: What the server is sent; an object at its top.
        wrapped: Whether the answer holds the value in a property ``value``, since what is asked
            for is no object.
        kind: What was asked for: a type, or a JSON schema.
        read: Turns JSON values into what was asked for.
    """

    name: str
    json_schema: dict[str, Any]
    wrapped: bool
    kind: Any
    read: Callable[[Any], T]

    @property
    def response_format(self) -> dict[str, Any]:
        """The field of a request that makes the server keep to the schema."""
        inner = {"name": self.name, "schema": self.json_schema, "strict": True}
        return {"type": "json_schema", "json_schema": inner}

    def validate(self, text: str, finish_reason: str | None = None) -> T:
        """Return what an answer says.

        Args:
            text: The whole answer.
            finish_reason: Why the server ended it, for the error.

        Raises:
            StructuredOutputTruncated: It ends before its JSON does.
            StructuredOutputError: It is no JSON, or does not fit.
        """
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            self._raise_unreadable(text, finish_reason)
        try:
            value = self.unwrapped(answer)
            if value is MISSING:
                raise SchemaMismatch((), "it is not an object with the property 'value'")
            return self.read(value)
        except SchemaMismatch as misfit:
            raise StructuredOutputError(
                f"The answer does not fit the schema {self.name!r} at {pointer(misfit.path)}: "
                f"{_shortened(str(misfit))}. It is in .raw; ask again, or loosen the schema there.",
                raw=text,
                finish_reason=finish_reason,
            ) from misfit.__cause__

    def unwrapped(self, answer: Any) -> Any:
        """Return the value in an answer, or in what has come of it; ``MISSING`` if none has."""
        if not self.wrapped:
            return answer
        return answer.get("value", MISSING) if isinstance(answer, dict) else MISSING

    def _raise_unreadable(self, text: str, finish_reason: str | None) -> NoReturn:
        begun = _begun(text)
        if begun is MISSING and finish_reason != "length":
            raise StructuredOutputError(
                f"The answer is not JSON: {_shortened(text)!r}. Check that the server supports "
                "response_format with a json_schema.",
                raw=text,
                finish_reason=finish_reason,
            )
        partial = self.unwrapped(begun)
        raise StructuredOutputTruncated(
            f"The answer was cut before its JSON ended (finish_reason {finish_reason!r}). Its text "
            "is in .raw, what can be read of it in .partial; raise max_tokens, or ask for less.",
            raw=text,
            finish_reason=finish_reason,
            partial=None if partial is MISSING else partial,
        )


def _begun(text: str) -> Any:
    """Return the value of JSON that has no end, ``MISSING`` for what is no such text."""
    parser = IncrementalJSON()
    try:
        parser.feed(text)
    except (ValueError, RecursionError):
        return MISSING
    return MISSING if parser.done else parser.value


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"
