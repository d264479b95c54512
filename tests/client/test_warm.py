"""A prompt is read ahead at the cost of one token, and two prompts are compared without any."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from tests.fakes.server import FakeServer, Reply

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
NEWEST = pytest.mark.parametrize("generation", ["newest"])
RULES = {"role": "system", "content": "Be kind."}
NEWS = {"type": "function", "function": {"name": "news", "parameters": {"type": "object"}}}


def usage(prompt: int, **details: int) -> dict[str, Any]:
    counts: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": 1}
    return {**counts, "prompt_tokens_details": details} if details else counts


@BOTH
def test_what_reading_ahead_costs_is_told(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("a", finish="length", usage=usage(100, cached_tokens=60)))
    cost = client.warm([RULES], tools=[NEWS])

    assert (40, 60) == (cost.tokens_read, cost.tokens_reused)
    assert 0 < cost.seconds < 60
    body = server.requests[-1].json
    assert (1, [NEWS]) == (body["max_tokens"], body["tools"])


@BOTH
@pytest.mark.parametrize(
    "form",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}},
        {"tools": [NEWS], "tool_choice": "required"},
        {"tools": [NEWS], "tool_choice": "news"},
        {"max_tokens": 90},
    ],
    ids=str,
)
def test_a_form_that_one_token_cannot_have_is_left_out(
    client: Any, server: FakeServer, form: dict[str, Any]
) -> None:
    client.warm([RULES], **form)

    body = server.posts[-1].json
    assert [RULES] == body["messages"]
    assert 1 == body["max_tokens"]
    assert not {"response_format", "tool_choice"} & body.keys()


@NEWEST
def test_prompts_are_compared_without_an_answer(client: Any, server: FakeServer) -> None:
    before = [RULES, {"role": "user", "content": "Is it deep?"}]
    after = [RULES, {"role": "user", "content": "Is it salty?"}]
    shared = client.explain_cache(before, after)

    assert ("message", 1) == (shared.cause, shared.message)
    assert 0 < shared.reused < shared.tokens == client.count_message_tokens(after)
    assert not [request for request in server.requests if "completions" == request.path[-11:]]


@NEWEST
@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ({"tools": [NEWS]}, "end"),
        ({"tools": [NEWS], "tools_before": []}, "tools"),
        ({"tools_before": [NEWS]}, "tools"),
    ],
)
def test_each_conversation_may_have_tools_of_its_own(
    client: Any, tools: dict[str, Any], expected: str
) -> None:
    assert expected == client.explain_cache([RULES], [RULES], **tools).cause


@pytest.mark.parametrize("generation", ["v0.4.2"])
def test_a_server_that_shows_no_prompts_is_named(client: Any) -> None:
    with pytest.raises(MlxcelError, match="no /apply-template"):
        client.explain_cache("one", "two")
