"""How many tokens the prompt of a chat has: the best of three ways that a server offers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import MlxcelError
from .anthropic import to_anthropic
from .failures import Failure
from .flow import Call, Flow
from .tokens import TokenMemory, read_tokens, unreadable
from .validation import as_object, as_text

__all__ = ["count_chat"]

Body = Mapping[str, Any]

_NOT_COUNTED = ("stream", "stream_options")


def count_chat(body: Body, memory: TokenMemory) -> Flow[int]:
    """Return the number of tokens of the prompt that a chat request makes, tools included.

    Args:
        body: Body of the chat request.
        memory: What is known about the server; the way that is found is put down there.

    Raises:
        MlxcelError: The server offers none of the ways.
    """
    body = {name: value for name, value in body.items() if name not in _NOT_COUNTED}
    key = json.dumps(body, sort_keys=True)
    known = memory.counts.get("chat", key)
    if known is not None:
        return known
    ways = list(_WAYS)
    for route in ways[ways.index(memory.route) if memory.route else 0 :]:
        count = yield from _WAYS[route](body)
        if count is not None:
            memory.route = route
            memory.counts.put("chat", key, count)
            return count
    memory.route = None
    raise MlxcelError(
        f"The server cannot count the tokens of messages: it has none of {', '.join(ways)}. Use a "
        "newer server, or count the texts with count_tokens."
    )


def _by_openai_route(body: Body) -> Flow[int | None]:
    answer = yield Call("/v1/chat/completions/input_tokens", body)
    return _read_count(answer)


def _by_anthropic_route(body: Body) -> Flow[int | None]:
    """Count what becomes the same prompt, as far as the other form can say it."""
    answer = yield Call("/v1/messages/count_tokens", to_anthropic(body))
    return _read_count(answer)


def _by_template(body: Body) -> Flow[int | None]:
    answer = yield Call("/apply-template", body)
    if isinstance(answer, Failure):
        return None
    prompt = as_text(as_object(answer).get("prompt"))
    if prompt is None:
        raise MlxcelError(unreadable("/apply-template"))
    answer = yield Call("/tokenize", {"content": prompt, "add_special": True}, frozenset())
    tokens = read_tokens(answer)
    # Some templates begin with the token that is added here; servers do not have it twice.
    doubled = len(tokens) > 1 and tokens[0] == tokens[1]
    return len(tokens) - doubled


_WAYS: dict[str, Callable[[Body], Flow[int | None]]] = {
    "/v1/chat/completions/input_tokens": _by_openai_route,
    "/v1/messages/count_tokens": _by_anthropic_route,
    "/apply-template": _by_template,
}
"""From the exact one to the one that takes two requests; each returns None where it is missing."""


def _read_count(answer: Any) -> int | None:
    if isinstance(answer, Failure):
        return None
    count = as_object(answer).get("input_tokens")
    if type(count) is not int:
        raise MlxcelError(unreadable("route for token counts"))
    return count
