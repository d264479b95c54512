"""Whole answers: the deltas of a stream, joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..tools.tool_calls import CallParts
from .delta import Delta

__all__ = ["ChatReply", "add_metadata", "fold"]


@dataclass(slots=True)
class ChatReply:
    """A whole answer.

    Attributes:
        text: Its text.
        reasoning: The model's thinking, if any.
        tool_calls: Calls as ``{"id", "type", "function": {"name", "arguments"}}``, where
            ``arguments`` is JSON text.
        finish_reason: ``stop``, ``length``, ``tool_calls``; ``repetition`` if it was left because
            it repeated itself; ``refusal`` if the text is one; None if unknown.
        usage: Token counts as OpenAI's ``usage``.
        timings: The server's own measurements, if it gives any.
        logprobs: Log probabilities of all tokens, as the server's ``logprobs``.
        model: Name of the model that answered.
        id: The server's name for the answer.
        parsed: The object in the text, if a schema was given.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    logprobs: dict[str, Any] | None = None
    model: str | None = None
    id: str | None = None
    parsed: Any = None


def fold(deltas: Iterable[Delta]) -> ChatReply:
    """Join the deltas of one answer."""
    __tracebackhide__ = True
    reply = ChatReply()
    text, reasoning = [], []
    calls, logprobs = CallParts(), _Logprobs()
    for delta in deltas:
        if delta.text:
            text.append(delta.text)
        if delta.reasoning:
            reasoning.append(delta.reasoning)
        if delta.tool_calls:
            calls.add(delta.tool_calls)
        if delta.logprobs:
            logprobs.add(delta.logprobs)
        if delta.finish_reason or delta.usage or delta.timings:
            add_metadata(reply, delta)
    reply.text, reply.reasoning = "".join(text), "".join(reasoning)
    reply.tool_calls, reply.logprobs = calls.joined() or None, logprobs.joined
    return reply


def add_metadata(reply: ChatReply, delta: Delta) -> None:
    """Add to an answer what a delta says of all of it: how it ended, counts and times.

    Most deltas say nothing of that, and the check for it takes less time than this call.
    """
    if delta.finish_reason:
        reply.finish_reason, reply.model, reply.id = delta.finish_reason, delta.model, delta.id
    reply.usage = delta.usage or reply.usage
    reply.timings = delta.timings or reply.timings


class _Logprobs:
    """Log probabilities of an answer, joined from the lists in its deltas.

    Attributes:
        joined: The ``logprobs`` object so far, None before the first.
    """

    def __init__(self) -> None:
        self.joined: dict[str, Any] | None = None

    def add(self, more: Mapping[str, Any]) -> None:
        """Append the lists of one delta; other values replace those before."""
        if self.joined is None:
            self.joined = {}
        for key, value in more.items():
            known = self.joined.get(key)
            if isinstance(known, list) and isinstance(value, list):
                known.extend(value)
            else:
                # Copied, since the list grows and the delta keeps its own.
                self.joined[key] = (list(value) if isinstance(value, list) else value) or known
