"""Context window: the messages that fit, and the prompts that do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...errors import MlxcelError
from ..arguments import as_whole
from ..body import encode_body
from ..flow import Flow
from ..validation import JsonMapping
from .message_tokens import count_chat
from .tokenize import TokenMemory

if TYPE_CHECKING:
    from ..features import ServerFeatures

__all__ = ["Room", "fit_chat", "room_for_prompt", "room_to_check"]


class Room(NamedTuple):
    """The room for a prompt in the context.

    Attributes:
        context_size: Tokens of the context.
        reserve: Tokens that are left for the answer.
        source: File from which the ``context_size`` is known, None if the server reports it.
    """

    context_size: int
    reserve: int
    source: str | None = None

    @property
    def limit(self) -> int:
        """Tokens that the prompt may have."""
        return self.context_size - self.reserve


def room_to_check(features: ServerFeatures, check: bool | None, body: JsonMapping) -> Room | None:
    """Return the room that a prompt must fit into, None if it need not be counted.

    Args:
        features: What is known about the server.
        check: Whether the user wants a check; None for servers that would truncate the prompt.
        body: Body of the request.
    """
    if features.context_size is None or not (check or features.forgets):
        return None
    # No token is shorter than one byte, and JSON has more syntax than the template.
    prompt = [body[name] for name in ("messages", "tools", "prompt") if name in body]
    if len(encode_body(prompt)) < features.context_size:
        return None
    # One token is left over, without which there could be no answer.
    return Room(features.context_size, 1, features.context_source)


def room_for_prompt(features: ServerFeatures, reserve: int | None, body: JsonMapping) -> Room:
    """Return the room for a prompt.

    Args:
        features: What is known about the server.
        reserve: Tokens to leave for the answer; None for the request's ``max_tokens``, or else a
            quarter of the context.
        body: Body of the chat request.

    Raises:
        MlxcelError: The context is unknown, or nothing is left of it.
    """
    context_size = features.context_size
    if context_size is None:
        raise MlxcelError(
            "The server does not report its context size: use a newer server, or start it with "
            "ctx_size."
        )
    if reserve is None:
        reserve = body.get("max_tokens") or context_size // 4
    reserve = as_whole("reserve", reserve, least=0)
    if reserve >= context_size:
        raise MlxcelError(
            f"reserve={reserve} is not possible in a context of {context_size} tokens: pass the "
            "number of tokens to leave for the answer, or a smaller max_tokens."
        )
    return Room(context_size, reserve, features.context_source)


def fit_chat(
    body: JsonMapping, messages: Sequence[JsonMapping], limit: int, memory: TokenMemory
) -> Flow[tuple[list[int], int]]:
    """Return the indices of the messages to keep, and the tokens of the prompt with these alone.

    The oldest turns go first, then the oldest rounds of tool calls within the last turn. System
    messages at the beginning stay, and so does the last round of the last turn.

    Args:
        body: Body of the chat request with all messages.
        messages: The same messages with the roles that they have for the user.
        limit: Most tokens of the prompt; if even the shortest one has more, that is returned.
        memory: What is known about the server.
    """
    choices = _selections(messages)

    def count(kept: Sequence[int]) -> Flow[int]:
        return count_chat({**body, "messages": [body["messages"][index] for index in kept]}, memory)

    tokens = yield from count(choices[0])
    if tokens <= limit or len(choices) == 1:
        return choices[0], tokens
    # Each choice is shorter than the one before it. If the last does not fit, none does.
    low, high = 1, len(choices) - 1
    tokens = yield from count(choices[high])
    while low < high and tokens <= limit:
        middle = (low + high) // 2
        tokens_there = yield from count(choices[middle])
        if tokens_there <= limit:
            high, tokens = middle, tokens_there
        else:
            low = middle + 1
    return choices[high], tokens


def _selections(messages: Sequence[JsonMapping]) -> list[list[int]]:
    """Return the lists of messages that may be kept, the longest first."""
    roles = [message["role"] for message in messages]
    everything = range(len(roles))
    head = next((index for index in everything if roles[index] != "system"), len(roles))
    turns = [index for index in everything if index >= head and roles[index] == "user"]
    starts = [index for index in turns if index > head]
    choices = [list(everything), *([*range(head), *everything[start:]] for start in starts)]
    if turns:
        # Tool results stay with the message that called for them.
        last = turns[-1]
        rounds = [index for index in everything[last + 1 :] if roles[index] == "assistant"]
        choices += ([*range(head), last, *everything[start:]] for start in rounds[1:])
    return choices
