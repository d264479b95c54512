"""Thinking before a structured answer: in one request if the server can do both, else in two.

mlxcel applies a schema from the first token on, so the model would have to think in JSON. There,
the first request has no schema and is left as soon as the model has thought; the second one has the
schema, and shows the model its thoughts. llama.cpp applies a schema from the end of the thoughts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import MlxcelError
from ..protocol.answers.chat_streams import SchemaStream
from ..protocol.answers.stream import DeltaStream
from ..protocol.answers.thought_stream import ThoughtStream
from ..protocol.arguments import whole
from ..protocol.body import to_json
from ..protocol.features import ServerFeatures
from ..protocol.generation_request import Request
from ..protocol.messages import inspect, with_text_at_end
from ..protocol.sampling import answer_room, has_schema
from ..protocol.schemas.smallest_answer import least_room
from ..protocol.validation import JsonMapping

__all__ = ["thinking_budget", "with_thinking_first"]

USUAL_CONTEXT = 16384
"""Context to assume for a server that does not report one."""

CHARACTERS_PER_TOKEN = 3
"""Fewest characters of a token on average, so that a prompt is never underestimated."""

ONLY_FOR_ANSWERS = {
    "echo",
    "logprobs",
    "response_format",
    "stop",
    "thinking_budget_tokens",
    "top_logprobs",
}
"""Fields that do not belong to a request for thoughts."""


def with_thinking_first(
    request: Request, features: ServerFeatures, *, may_continue: bool
) -> Request:
    """Return the request to send for an answer with a schema, before which the model thinks.

    Args:
        request: The request for thoughts and answer.
        features: The server's features.
        may_continue: Whether the server may be sent the beginning of an answer.
    """
    if (make := request.without_tools) is not None:

        def without_tools() -> Request:
            return with_thinking_first(make(), features, may_continue=may_continue)

        request = request._replace(without_tools=without_tools)
    if not has_schema(request.body):
        return request
    budget = thinking_budget(request.body, features.context_size, _prompt_characters(request.body))
    if budget == 0:
        return _answer_request(request, request.body)
    if features.engine == "llama.cpp":
        limit = {} if budget is None else {"thinking_budget_tokens": budget}
        read = partial(_thinking_reader, request.stream)
        return request._replace(body={**request.body, **limit}, stream=read)
    body = {name: value for name, value in request.body.items() if name not in ONLY_FOR_ANSWERS}
    if budget is not None:
        body["max_tokens"] = budget
    separates = features.engine != "mlxcel" or features.build is not None
    return Request(
        request.route,
        body,
        partial(ThoughtStream, separates=separates),
        request.session,
        follow_up=partial(_after_thoughts, request, may_continue and features.continues),
        without_tools=request.without_tools,
    )


def thinking_budget(body: JsonMapping, context_size: int | None, characters: int) -> int | None:
    """Return the most tokens that the model may think, so that there is room for the answer.

    Args:
        body: The request body.
        context_size: Tokens of the context, None if unknown.
        characters: Length of the prompt.

    Returns:
        The tokens; 0 if there is no room to think, None for no limit.

    Raises:
        MlxcelError: The budget in the request is not a number from -1.
    """
    given, most = body.get("thinking_budget_tokens"), whole(body.get("max_tokens"))
    wanted = -1 if given is None else whole(given)
    if wanted is None or wanted < -1:
        raise MlxcelError(
            f"thinking_budget_tokens is {given!r:.40}: pass the most tokens of thinking, 0 to "
            "switch it off, or -1 for no limit."
        )
    limits = [] if wanted < 0 else [wanted]
    kept = least_room(body.get("response_format"))
    if most is not None:
        limits.append(max(most - max(answer_room(most), kept), 0))
    if context_size is not None or (given is None and most is None):
        free = (context_size or USUAL_CONTEXT) - characters // CHARACTERS_PER_TOKEN
        limits.append(max(min(free // 2, free - kept), 1))
    return min(limits, default=None)


def _prompt_characters(body: JsonMapping) -> int:
    """Return the characters of the text and of the tools in a prompt, wherever the tools are."""
    tools = body.get("tools")
    return inspect(body["messages"]).characters + (len(to_json(tools)) if tools else 0)


def _after_thoughts(request: Request, continues: bool, stream: DeltaStream) -> Request:
    """Return the request for the answer that follows thoughts.

    Args:
        request: The request for thoughts and answer.
        continues: Whether the server continues an answer that begins with thoughts.
        stream: The reader of the thoughts.
    """
    assert isinstance(stream, ThoughtStream)
    thoughts, messages = stream.thoughts.strip(), request.body["messages"]
    body = {name: v for name, v in request.body.items() if name != "thinking_budget_tokens"}
    if (most := whole(body.get("max_tokens"))) is not None:
        body["max_tokens"] = max(most - stream.tokens, 1)
    if not thoughts:
        return _answer_request(request, body, stream.tokens)
    text = f"You have already thought about it:\n\n{thoughts}\n\nNow give the answer."
    shown = _answer_request(
        request, {**body, "messages": with_text_at_end(messages, text)}, stream.tokens
    )
    if not continues or messages[-1]["role"] == "assistant":
        return shown
    begun = {"role": "assistant", "content": "", "reasoning_content": thoughts}
    continued = {**body, "messages": [*messages, begun]}
    return shown._replace(body=continued, fallback=shown)


def _answer_request(request: Request, body: JsonMapping, thought_tokens: int = 0) -> Request:
    """Return a request for nothing but the answer."""
    variables = {**(body.get("chat_template_kwargs") or {}), "enable_thinking": False}
    body = {**body, "chat_template_kwargs": variables}
    read = partial(_counting_reader, request.stream, thought_tokens)
    return request._replace(body=body, stream=read)


def _thinking_reader(make: Callable[[], DeltaStream]) -> DeltaStream:
    stream = make()
    assert isinstance(stream, SchemaStream)
    stream.expect_thoughts()
    return stream


def _counting_reader(make: Callable[[], DeltaStream], thought_tokens: int) -> DeltaStream:
    stream = make()
    stream.thought_tokens = thought_tokens
    return stream
