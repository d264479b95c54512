"""Thinking before an answer in form: budgets, and what is sent to which server."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.generation_request import Request
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.structured.thinking import (
    thinking_budget,
    with_thinking_first,
)

FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
THINK = {"chat_template_kwargs": {"enable_thinking": True}}


def request(**fields: Any) -> Request:
    return chat_request("m", inspect("How many?"), {"response_format": FORMAT, **THINK, **fields})


def features(engine: str | None, build: str | None = None, size: int | None = None) -> Any:
    return ServerFeatures(engine, build, (), None, size, None, frozenset())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"response_format": None}, False),
        ({"chat_template_kwargs": {}}, False),
        ({"chat_template_kwargs": None, "reasoning_effort": "high"}, True),
        ({"chat_template_kwargs": {"reasoning_effort": "high"}}, True),
        ({"chat_template_kwargs": {"reasoning_effort": "none"}}, False),
        ({"thinking_budget_tokens": 0}, False),
    ],
)
def test_only_an_answer_with_a_schema_that_asks_for_thoughts_has_them_first(
    fields: dict[str, Any], expected: bool
) -> None:
    assert expected == request(**fields).thinks_first


@pytest.mark.parametrize(
    ("given", "most", "context", "characters", "expected"),
    [
        (None, 100, None, 0, 50),
        (None, 10_000, None, 0, 10_000 - 1024),
        (None, 1, None, 0, 0),
        (None, 0, None, 0, 0),
        (None, 3, None, 0, 1),
        (20, 100, None, 0, 20),
        (80, 100, None, 0, 50),
        (-1, 100, None, 0, 50),
        (-1, None, None, 0, None),
        (-1, None, 1000, 0, 500),
        (20, None, None, 0, 20),
        (None, None, None, 0, 8192),
        (None, None, 4096, 0, 2048),
        (None, None, 4096, 3000, 1548),
        (None, None, 4096, 30_000, 1),
        (5000, None, 4096, 0, 2048),
    ],
)
def test_a_budget_leaves_room_for_the_answer(
    given: int | None, most: int | None, context: int | None, characters: int, expected: int | None
) -> None:
    body = {"thinking_budget_tokens": given, "max_tokens": most}

    assert expected == thinking_budget(body, context, characters)


@pytest.mark.parametrize(
    ("most", "context", "expected"),
    [(300, None, 98), (250, None, 48), (202, None, 0), (150, None, 0), (None, 300, 98)],
)
def test_a_budget_leaves_room_for_the_smallest_answer(
    most: int | None, context: int | None, expected: int
) -> None:
    names = [f"field_{number}" for number in range(50)]
    properties = {name: {"type": "string"} for name in names}
    schema = {"type": "object", "properties": properties, "required": names}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"response_format": wanted, "max_tokens": most}

    assert expected == thinking_budget(body, context, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"max_tokens": 100}, 50), ({"thinking_budget_tokens": 7}, 7), ({}, 498)],
)
def test_llama_cpp_thinks_and_answers_in_one_request(fields: dict[str, Any], expected: int) -> None:
    given = request(**fields)

    sent = with_thinking_first(given, features("llama.cpp", "b1", 1000), may_continue=True)

    assert {**given.body, "thinking_budget_tokens": expected} == sent.body
    assert sent.follow_up is None


@pytest.mark.parametrize("tools", [True, False], ids=["of the template", "in the message"])
def test_tools_leave_less_room_for_thoughts(tools: bool) -> None:
    server = dataclasses.replace(features("llama.cpp", "b1", 1000), tools=tools)
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 1500}}
    fields = {"response_format": FORMAT, "tools": [tool], **THINK}
    given = chat_request("m", inspect("How many?"), fields, server)

    sent = with_thinking_first(given, server, may_continue=True)

    assert 150 < sent.body["thinking_budget_tokens"] < 250


@pytest.mark.parametrize("engine", ["mlxcel", None])
def test_other_servers_think_in_a_request_of_its_own(engine: str | None) -> None:
    given = request(max_tokens=100, stop=["x"], logprobs=True, temperature=0)

    sent = with_thinking_first(given, features(engine), may_continue=True)

    kept = {**THINK, "temperature": 0, "max_tokens": 50, "messages": given.body["messages"]}
    assert {name: sent.body[name] for name in kept} == kept
    assert {"response_format", "stop", "logprobs"}.isdisjoint(sent.body)
    assert sent.follow_up is not None


def test_without_room_for_thoughts_the_answer_comes_at_once() -> None:
    given = request(max_tokens=1)

    sent = with_thinking_first(given, features("llama.cpp", "b1"), may_continue=True)

    assert not sent.body["chat_template_kwargs"]["enable_thinking"]
    assert sent.follow_up is None
