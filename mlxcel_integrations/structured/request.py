"""Chats whose answers keep to a schema: the fields, and the schema shown to the model.

Modules that make schemas of types are loaded with the first schema, since most programs need none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MlxcelError, check_program_goes_on
from ..protocol.arguments import shown
from ..protocol.messages import Message, Messages, as_list, with_text_at_end
from ..protocol.sampling import reasoning_read, without_thinking
from ..protocol.schemas.schema_use import EXACT, RELAXABLE, Correction, SchemaUse

if TYPE_CHECKING:
    from ..protocol.answers.delta import Delta
    from ..protocol.answers.reply import ChatReply
    from ..protocol.schemas.json_schema import JsonSchema
    from .answer_stream import AnswerStream
    from .schema import Schema

__all__ = [
    "SCHEMA_FIELDS",
    "StructuredChat",
    "check_format_type",
    "constrained",
    "content",
    "schema_text",
    "structured_chat",
    "to_response_format",
    "with_format_converted",
    "with_response_format",
    "with_schema_applied",
    "with_schema_shown",
]

SCHEMA_FIELDS = frozenset({"response_format", "show_schema", "correction"})
"""Fields of requests that adapters prepare with ``with_schema_applied``; most have none."""

_FOREIGN_TYPES = {"grammar", "json", "regex", "structural_tag"}
"""Types of a ``response_format`` that only other servers have."""


class StructuredChat(NamedTuple):
    """A conversation, and the schema of its answer.

    Attributes:
        messages: The conversation.
        sampling: Sampling fields.
        schema: Schema of the answer; None for free text.
    """

    messages: Messages
    sampling: Mapping[str, Any]
    schema: Schema[Any] | None

    def read(self, reply: ChatReply) -> ChatReply:
        """Return a reply with its object in ``parsed``.

        Raises:
            StructuredOutputError: The answer does not fit the schema.
        """
        if self.schema is None:
            return reply
        parsed = self.schema.validate(reply.text, reply.finish_reason)
        return dataclasses.replace(reply, parsed=parsed)

    def request(self, fields: Mapping[str, Any]) -> tuple[Messages, Mapping[str, Any]]:
        """Return the messages and fields of one attempt.

        Args:
            fields: Fields of this attempt.
        """
        return _with_correction(self.messages, {**self.sampling, **fields})

    def answer_stream(self) -> TextStream | AnswerStream:
        """Return a reader of the deltas of a streamed answer."""
        if self.schema is None:
            return TextStream()
        from .answer_stream import AnswerStream

        return AnswerStream(self.schema, partial=True)


class TextStream:
    """Read a streamed answer without a schema, as pieces of text."""

    def feed(self, delta: Delta) -> Iterable[str]:
        """Take a delta and return its text."""
        return (delta.text,) if delta.text else ()

    def close(self) -> Iterable[str]:
        """Say that the answer is complete."""
        return ()


def structured_chat(
    messages: Messages, sampling: Mapping[str, Any], output_type: Any, show_schema: bool
) -> StructuredChat:
    """Prepare a conversation whose answer keeps to a schema.

    Args:
        messages: OpenAI messages, or one user message as plain text.
        sampling: Sampling fields.
        output_type: Anything that ``to_schema`` takes; None for text, whose form a
            ``response_format`` among the fields may set.
        show_schema: Whether the schema is shown to the model.

    Raises:
        MlxcelError: No schema can be made from the type, or no server accepts it.
    """
    check_program_goes_on()
    sampling = reasoning_read(sampling)
    if output_type is None:
        return _formatted_chat(messages, sampling, show_schema)
    from .type_schema import to_schema

    schema = to_schema(output_type)
    shown = with_schema_shown(schema.json_schema, messages) if show_schema else as_list(messages)
    return StructuredChat(shown, constrained(schema, sampling), schema)


def content(reply: ChatReply, output_type: Any) -> Any:
    """Return the object of a reply if there is a type for it, else its text."""
    return reply.text if output_type is None else reply.parsed


def _formatted_chat(
    messages: Messages, sampling: Mapping[str, Any], show_schema: bool
) -> StructuredChat:
    """Prepare a conversation whose answer is text, with the form of ``response_format`` if any."""
    given = sampling.get("response_format")
    if is_free(given):
        return StructuredChat(messages, sampling, None)
    response_format = to_response_format(given)
    if show_schema:
        schema = response_format["json_schema"]["schema"]
        messages = with_schema_shown(schema, messages, tools=bool(sampling.get("tools")))
    fields = without_thinking({**sampling, "response_format": response_format})
    return StructuredChat(messages, fields, None)


def constrained(schema: Schema[Any], sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return sampling fields that make the answer keep to a schema.

    Raises:
        MlxcelError: They have a ``response_format`` already.
    """
    if sampling.get("response_format") is not None:
        raise MlxcelError("schema and response_format are the same thing: drop one of them.")
    wanted = {
        "response_format": schema.response_format,
        "schema_use": sampling.get("schema_use") or RELAXABLE,
    }
    return without_thinking({**sampling, **wanted})


def to_response_format(given: Any) -> dict[str, Any]:
    """Return a ``response_format`` that every engine can constrain.

    Args:
        given: Anything that ``to_schema`` takes; ``{"type": "json_object"}`` for any JSON object.
            The schema of a whole ``response_format``, which other code has made from a type and
            whose answers it checks by that type, is adapted to what servers know.

    Raises:
        MlxcelError: It has no schema, or no server accepts it.
    """
    from .type_schema import to_schema

    check_format_type(given)
    if not isinstance(given, Mapping):
        return to_schema(given).response_format
    if given.get("type") == "json_object":
        schema = given.get("schema")
        return to_schema({"type": "object"} if schema is None else schema).response_format
    if is_whole_format(given):
        from ..protocol.schemas.json_schema import check_schema_size, normalized

        name = to_schema(given).name  # checks it
        inner = {**given["json_schema"], "schema": normalized(given["json_schema"]["schema"])}
        check_schema_size(inner["schema"])
        if not isinstance(inner.get("name"), str):
            inner["name"] = name
        return {**given, "json_schema": inner}
    # llama.cpp takes a schema beside the type, too.
    has_schema = isinstance(given.get("schema"), Mapping)
    if "json_schema" in (given.get("type"), *given) and not has_schema:
        raise MlxcelError(
            f"{given!r:.200} is not a response_format that servers understand: "
            'pass {"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}.'
        )
    return to_schema(given).response_format


def check_format_type(given: Any) -> None:
    """Check that a ``response_format`` is not a name, and not of a type only other servers have.

    Raises:
        MlxcelError: It is.
    """
    kind = given.get("type") if isinstance(given, Mapping) else None
    foreign = isinstance(kind, str) and kind in _FOREIGN_TYPES
    if isinstance(given, str) or foreign:
        more = ' To send it to a server that knows it, use extra_body={"response_format": ...}.'
        raise MlxcelError(
            f"response_format={shown(given)} is unknown: pass a class or a JSON schema, or "
            f'{{"type": "json_object"}} for any JSON object.{more if foreign else ""}'
        )


def is_whole_format(given: Any) -> bool:
    """Return whether this is a ``response_format`` of the protocol that holds a schema."""
    inner = given.get("json_schema") if isinstance(given, Mapping) else None
    return isinstance(inner, Mapping) and "schema" in inner


def is_free(response_format: Any) -> bool:
    """Return whether a ``response_format`` leaves the form of the answer to the model."""
    return response_format in (None, {}, {"type": "text"})


def with_response_format(sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return sampling fields whose ``response_format`` is one of the protocol, not a type.

    Raises:
        MlxcelError: No schema can be made from it, or no server accepts it.
    """
    given = sampling.get("response_format")
    if is_free(given) or is_whole_format(given):
        return sampling
    return {**sampling, "response_format": to_response_format(given)}


def with_format_converted(fields: Mapping[str, Any], *, checked: bool) -> dict[str, Any]:
    """Return fields of a request whose ``response_format`` may be anything with a schema.

    ``schema_use`` marks converted fields.

    Args:
        fields: The fields.
        checked: Whether the answer will be checked by the schema, so that the server need not know
            all of it.

    Raises:
        MlxcelError: No schema can be made from it, or no server accepts it.
    """
    given = fields.get("response_format")
    if is_free(given):
        return {name: value for name, value in fields.items() if name != "show_schema"}
    use = fields.get("schema_use")
    if isinstance(use, list) and len(use) == len(SchemaUse._fields):
        # So JSON has it, in which LangChain saves a bound model.
        use = SchemaUse(*map(bool, use))
    if isinstance(use, SchemaUse) and is_whole_format(given):
        return {**fields, "schema_use": use}
    wanted = {
        "response_format": to_response_format(given),
        "schema_use": SchemaUse(relaxable=checked),
    }
    return {"show_schema": True, **fields, **wanted}


def with_schema_applied(
    messages: Sequence[Message], fields: Mapping[str, Any]
) -> tuple[Sequence[Message], dict[str, Any]]:
    """Return messages and fields of a request that may be bound to a schema, ready to be sent.

    ``show_schema``, which is not sent, marks such a request: frameworks bind nothing but fields.

    Raises:
        MlxcelError: No schema can be made from ``response_format``, or no server accepts it.
    """
    fields = with_format_converted(fields, checked=False)
    if "show_schema" in fields:
        fields = without_thinking(fields)
        if fields.pop("show_schema"):
            schema = fields["response_format"]["json_schema"]["schema"]
            messages = with_schema_shown(schema, messages, tools=bool(fields.get("tools")))
    return _with_correction(messages, fields)


def _with_correction(
    messages: Messages, fields: Mapping[str, Any]
) -> tuple[Sequence[Message], dict[str, Any]]:
    """Return messages and fields of a request, with its ``correction`` shown to the model.

    A field of this name that a user has set is sent to the server.
    """
    fields, messages = dict(fields), as_list(messages)
    correction = fields.get("correction")
    if not isinstance(correction, Correction):
        return messages, fields
    del fields["correction"]
    if correction.too_long:
        use = fields.get("schema_use") or EXACT
        fields["schema_use"] = use._replace(tight=True)
    return with_text_at_end(messages, correction.text), fields


def with_schema_shown(
    schema: JsonSchema, messages: Messages, *, tools: bool = False
) -> Sequence[Message]:
    """Return messages with the schema at the end of the last message that the model answers.

    Servers only constrain the answer by the schema. A model that has read it answers better.

    Args:
        schema: Schema of the answer.
        messages: The conversation.
        tools: Whether the model may call a tool instead.
    """
    return with_text_added(messages, schema_text(schema, tools=tools))


def with_text_added(messages: Messages, text: str) -> Sequence[Message]:
    """Return messages with a text at the end of the last message that the model answers."""
    messages = as_list(messages)
    if not messages or not all(isinstance(message, Mapping) for message in messages):
        return messages  # refused with the request
    return with_text_at_end(messages, text)


def schema_text(schema: JsonSchema, *, tools: bool = False) -> str:
    """Return the text that shows the schema to the model.

    Args:
        schema: Schema of the answer.
        tools: Whether the model may call a tool instead.
    """
    from ..protocol.schemas.json_schema import compact

    intro = "Call a tool, or answer" if tools else "Answer"
    return f"{intro} with JSON that fits this JSON schema:\n{compact(schema)}"
