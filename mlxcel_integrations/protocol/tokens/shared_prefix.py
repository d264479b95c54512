"""Shared prefix of two prompts: how much of the second a server has computed for the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import MlxcelError
from ..failures import Failure
from ..flow import MISSING_ROUTE_STATUSES, Call, Flow
from ..validation import JsonMapping, as_object, as_text
from .message_tokens import Handles, read_prompt, tokens_of_prompt, with_roles
from .tokenize import TokenMemory

__all__ = ["SharedPrefix", "compare_prompts"]

Cause = Literal["message", "tools", "template", "end"]

_CONTEXT_CHARACTERS = 30
"""Characters to show on each side of the place where prompts part."""

_NOT_SHOWN = ("stream", "stream_options", "max_tokens")


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """How much of a prompt is the same as the beginning of another one.

    Attributes:
        tokens: Tokens of the second prompt.
        reused: Tokens at its beginning that the first prompt has as well: a server that has read
            the first one need not compute them again.
        cause: Where they part: in a ``"message"``, in the ``"tools"``, because of the
            ``"template"``, which shows the same messages in another way, or at the ``"end"`` of
            one of them.
        message: Index of the message where they part, None unless the cause is a message.
        before: What the first prompt has there: the text around the place.
        after: What the second prompt has there.
    """

    tokens: int
    reused: int
    cause: Cause
    message: int | None
    before: str
    after: str

    def __str__(self) -> str:
        share = f"{self.reused:,} of {self.tokens:,} tokens are reused."
        if self.reused == self.tokens and self.before == self.after:
            return f"{share} Both prompts are the same."
        if self.cause == "end":
            return f"{share} One prompt is the beginning of the other."
        place = f"messages[{self.message}]" if self.message is not None else f"the {self.cause}"
        return f"{share} The first difference is in {place}: {self.before!r} became {self.after!r}."


def compare_prompts(
    before: JsonMapping, after: JsonMapping, memory: TokenMemory
) -> Flow[SharedPrefix]:
    """Compare the prompts of two chat requests.

    Args:
        before: Body of the first request.
        after: Body of the second one.
        memory: What is known about the server.

    Raises:
        MlxcelError: The server does not show its prompts, or there is more in them than text.
    """
    _check_texts("messages_before", before)
    _check_texts("messages_after", after)
    old, new = (yield from _prompt(before, memory)), (yield from _prompt(after, memory))
    ids = (yield from tokens_of_prompt(old)), (yield from tokens_of_prompt(new))
    place = _common_prefix_length(old, new)
    cause, message = _cause(before, after, new, place)
    if place in (len(old), len(new)):
        cause, message = "end", None
    return SharedPrefix(
        tokens=len(ids[1]),
        reused=_common_prefix_length(*ids),
        cause=cause,
        message=message,
        before=old[max(0, place - _CONTEXT_CHARACTERS) : place + _CONTEXT_CHARACTERS],
        after=new[max(0, place - _CONTEXT_CHARACTERS) : place + _CONTEXT_CHARACTERS],
    )


def _check_texts(name: str, body: JsonMapping) -> None:
    """Raise if a message has more than text: prompts show the same mark for any picture."""
    for index, message in enumerate(body["messages"]):
        content = message.get("content")
        for at, part in enumerate(content if isinstance(content, list) else ()):
            if (kind := part.get("type", "text")) != "text":
                raise MlxcelError(
                    f"{name}[{index}].content[{at}] has the type {kind}, but only texts can be "
                    "compared: leave it out of both, or put a text in its place."
                )


def _prompt(body: JsonMapping, memory: TokenMemory) -> Flow[str]:
    """Return the text that the chat template makes of a request."""
    body = {name: value for name, value in body.items() if name not in _NOT_SHOWN}
    return (yield from with_roles(body, memory, _template_applied))


def _template_applied(body: JsonMapping, handles: Handles) -> Flow[str | Failure]:
    answer = yield Call("/apply-template", body, handles=handles)
    if not isinstance(answer, Failure):
        return read_prompt(answer)
    if answer.status in MISSING_ROUTE_STATUSES:
        raise MlxcelError(
            "The server does not show its prompts: it has no /apply-template. mlxcel has it in "
            "versions after 0.4.2; llama.cpp and the embedded engine have it, too."
        )
    return answer


def _cause(
    before: JsonMapping, after: JsonMapping, prompt: str, place: int
) -> tuple[Cause, int | None]:
    """Return where prompts part, and the index of the message if it is one.

    Args:
        before: Body of the first request.
        after: Body of the second one.
        prompt: Prompt of the second one.
        place: How many characters the prompts share.
    """
    messages: Sequence[Mapping[str, Any]] = after["messages"]
    first = _common_prefix_length(before["messages"], messages)
    begin, end = _message_span(prompt, messages, first)
    if before.get("tools") != after.get("tools") and place < begin:
        return "tools", None
    return ("message", first) if place >= end and first < len(messages) else ("template", None)


def _message_span(
    prompt: str, messages: Sequence[Mapping[str, Any]], index: int
) -> tuple[int, int]:
    """Return where a message begins in a prompt, and where the one before it ends."""
    end = 0
    for message in messages[:index]:
        for text in _message_texts(message):
            found = prompt.find(text, end)
            end = found + len(text) if found >= 0 else end
    texts = _message_texts(messages[index]) if index < len(messages) else []
    begins = [prompt.find(text, end) for text in texts[:1]]
    return (begins[0] if begins and begins[0] >= 0 else len(prompt)), end


def _common_prefix_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many items two sequences have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _message_texts(message: Mapping[str, Any]) -> list[str]:
    """Return the texts of a message, which templates often strip."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return [text.strip() for part in parts if (text := as_text(as_object(part).get("text")))]
