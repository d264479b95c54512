"""Token counts of chats: three routes, of which a server has one or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ...errors import MlxcelError
from ..body import to_json
from ..failures import Failure
from ..flow import MISSING_ROUTE_STATUSES, REJECTED_STATUSES, Call, Flow
from ..strict_roles import refuses_ids
from ..validation import JsonMapping, JsonObject, as_object, as_text
from .anthropic_form import to_anthropic
from .tokenize import TokenMemory, read_tokens, unreadable

__all__ = [
    "Handles",
    "chat_to_check",
    "count_chat",
    "read_prompt",
    "tokens_of_prompt",
    "with_roles",
]

Handles = Callable[[Failure], bool]
T = TypeVar("T")

_ANTHROPIC = "/v1/messages/count_tokens"

_NOT_COUNTED = ("stream", "stream_options")


def count_chat(body: JsonMapping, memory: TokenMemory) -> Flow[int]:
    """Return the number of tokens of a chat request's prompt, tools included.

    Args:
        body: Body of the chat request.
        memory: What is known about the server; remembers the route that works.

    Raises:
        MlxcelError: The server has none of the routes.
    """
    count = yield from with_roles(
        body, memory, lambda fitted, handles: _count_by_route(fitted, memory, handles)
    )
    if memory.route == _ANTHROPIC:
        count -= yield from _surplus(memory)
    return count


def with_roles(
    body: JsonMapping, memory: TokenMemory, ask: Callable[[JsonMapping, Handles], Flow[T | Failure]]
) -> Flow[T]:
    """Return what a server says about a prompt, with messages merged as its template needs them.

    Args:
        body: Body of the chat request.
        memory: What is known about the server.
        ask: Asks about a body; returns a failure if that is handled.
    """
    roles = memory.roles
    level, short_ids = roles.level, roles.short_ids

    def handles(failure: Failure) -> bool:
        if refuses_ids(failure):
            return not short_ids
        return roles.after_refusal(failure, body, level) is not None

    while True:
        answer = yield from ask(roles.fit(body, level, short_ids=short_ids), handles)
        if not isinstance(answer, Failure):
            roles.level = max(roles.level, level)
            return answer
        if refuses_ids(answer):
            short_ids = roles.short_ids = True
        else:
            level = roles.after_refusal(answer, body, level) or level


def _count_by_route(
    body: JsonMapping, memory: TokenMemory, handles: Handles
) -> Flow[int | Failure]:
    """Return the count from the best route that the server has, or a failure that is handled."""
    body = {name: value for name, value in body.items() if name not in _NOT_COUNTED}
    key = to_json(dict(sorted(body.items())))
    known = memory.counts.get("chat", key)
    if known is not None:
        return known
    ways = list(_WAYS)
    for route in ways[ways.index(memory.route) if memory.route else 0 :]:
        count = yield from _WAYS[route](body, handles)
        if isinstance(count, Failure):
            return count
        if count is not None:
            memory.route = route
            memory.counts.put("chat", key, count)
            return count
    memory.route = None
    raise MlxcelError(
        f"The server cannot count the tokens of messages: it has none of {', '.join(ways)}. Use a "
        "newer server, or count the texts with count_tokens."
    )


def _by_openai_route(body: JsonMapping, handles: Handles) -> Flow[int | Failure | None]:
    answer = yield Call("/v1/chat/completions/input_tokens", body, handles=handles)
    return _read_count(answer)


def _by_anthropic_route(body: JsonMapping, handles: Handles) -> Flow[int | Failure | None]:
    """Count the same prompt, as far as the other form can express it."""
    answer = yield Call(_ANTHROPIC, to_anthropic(body), handles=handles)
    return _read_count(answer)


def _by_template(body: JsonMapping, handles: Handles) -> Flow[int | Failure | None]:
    answer = yield Call("/apply-template", body, handles=handles)
    if isinstance(answer, Failure):
        return _read_count(answer)
    return len((yield from tokens_of_prompt(read_prompt(answer))))


def read_prompt(answer: Any) -> str:
    """Read the answer of ``/apply-template``.

    Raises:
        MlxcelError: It has no prompt.
    """
    prompt = as_text(as_object(answer).get("prompt"))
    if prompt is None:
        raise MlxcelError(unreadable("/apply-template"))
    return prompt


def tokens_of_prompt(prompt: str) -> Flow[list[int]]:
    """Return the token ids of a prompt, as a server reads it."""
    answer = yield Call("/tokenize", {"content": prompt, "add_special": True}, frozenset())
    tokens = read_tokens(answer)
    # Some templates begin with the token that is added here; servers have it only once.
    doubled = len(tokens) > 1 and tokens[0] == tokens[1]
    return tokens[doubled:]


_WAYS: dict[str, Callable[[JsonMapping, Handles], Flow[int | Failure | None]]] = {
    "/v1/chat/completions/input_tokens": _by_openai_route,
    _ANTHROPIC: _by_anthropic_route,
    "/apply-template": _by_template,
}
"""Ways to count by their routes, the best first; each returns None where its route is missing."""


def _read_count(answer: Any) -> int | Failure | None:
    """Return a count, a failure that was expected, or None where the route is missing."""
    if isinstance(answer, Failure):
        return None if answer.status in MISSING_ROUTE_STATUSES else answer
    count = as_object(answer).get("input_tokens")
    if type(count) is not int:
        raise MlxcelError(unreadable("route for token counts"))
    return count


# --------------------------------------------------------------------------- the first token

_CHECKED_CHARACTERS = 2000
"""Longest chat that is kept to check counts by, in characters."""


def _surplus(memory: TokenMemory) -> Flow[int]:
    """Return how many tokens too many the Anthropic route counts: one at the beginning, or none.

    Some tokenizers add a token at the beginning of each text, and most chat templates for them
    write it, too. mlxcel 0.4.2 then counts it twice, although the model reads it once. Whether the
    template writes it is seen when an answer reports the number of tokens in its prompt.
    """
    if memory.surplus is None:
        answer = yield Call("/tokenize", {"content": "", "add_special": True}, REJECTED_STATUSES)
        memory.surplus = 0 if isinstance(answer, Failure) else int(bool(read_tokens(answer)))
    answered = memory.answered
    if memory.surplus and answered is not None:
        chat, tokens = answered
        memory.checked, memory.answered = True, None
        count = _read_count((yield Call(_ANTHROPIC, chat)))
        if count == tokens:
            memory.surplus = 0
    return memory.surplus


def chat_to_check(body: JsonMapping, memory: TokenMemory) -> JsonObject | None:
    """Return a chat in Anthropic's form if its answer is needed to check counts by, or None.

    Args:
        body: Body of the request for the answer.
        memory: What is known about the server.
    """
    done = memory.checked or memory.answered is not None or memory.surplus == 0
    if done or memory.route not in (None, _ANTHROPIC) or not _is_plain(body):
        return None
    return to_anthropic(body)


def _is_plain(body: JsonMapping) -> bool:
    """Return whether a request is a short chat that certainly is the same prompt in both forms."""
    messages = body.get("messages")
    if not (isinstance(messages, list) and messages):
        return False
    if body.keys() & {"tools", "chat_template_kwargs"}:
        return False
    texts = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or message.keys() != {"role", "content"}:
            return False
        known = ("user", "assistant") if index else ("user", "assistant", "system")
        if message["role"] not in known or not isinstance(message["content"], str):
            return False
        texts.append(message["content"])
    return sum(map(len, texts)) <= _CHECKED_CHARACTERS
