"""Questions: what is asked in a chat, and how its answer is read.

What schemas need is loaded with the first one: it takes a third of the time in which the rest is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..protocol.messages import Messages
from ..protocol.stream import ChatReply, Delta

if TYPE_CHECKING:
    from .answer_stream import AnswerStream
    from .schema import Schema

__all__ = ["StructuredChat", "TextStream", "ask"]


@dataclass(frozen=True, slots=True)
class StructuredChat:
    """What to ask for, and how the answer is read.

    Attributes:
        messages: The conversation.
        sampling: Sampling fields.
        schema: What the answer must look like; None for free text.
    """

    messages: Messages
    sampling: Mapping[str, Any]
    schema: Schema[Any] | None

    def read(self, reply: ChatReply) -> ChatReply:
        """Return a reply with what it says in ``parsed``.

        Raises:
            StructuredOutputError: It does not fit the schema.
        """
        if self.schema is None:
            return reply
        parsed = self.schema.validate(reply.text, reply.finish_reason)
        return dataclasses.replace(reply, parsed=parsed)

    def answers(self) -> TextStream | AnswerStream:
        """Return what reads the deltas of a streamed answer."""
        if self.schema is None:
            return TextStream()
        from .answer_stream import AnswerStream

        return AnswerStream(self.schema, partial=True)


def ask(messages: Messages, sampling: Mapping[str, Any], kind: Any, show: bool) -> StructuredChat:
    """Prepare a conversation whose answer keeps to a schema.

    Args:
        messages: OpenAI messages, or one user message as plain text.
        sampling: Sampling fields.
        kind: A schema of any kind that ``to_schema`` takes; None for free text.
        show: Whether the model gets to see the schema.

    Raises:
        MlxcelError: The schema is none, or one that no server takes.
    """
    if kind is None:
        return StructuredChat(messages, sampling, None)
    from .answer_stream import constrained, with_schema_shown
    from .type_schema import to_schema

    schema = to_schema(kind)
    shown = with_schema_shown(schema.json_schema, messages) if show else messages
    return StructuredChat(shown, constrained(schema, sampling), schema)


class TextStream:
    """Read a streamed answer as pieces of text."""

    def feed(self, delta: Delta) -> Iterable[str]:
        """Take a delta and return the text in it."""
        return (delta.text,) if delta.text else ()

    def close(self) -> Iterable[str]:
        """Say that the answer is complete."""
        return ()
