"""Fields of a request: those of a call beat the constructor's, and thinking has one name."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.adapters.generation import ChatAdapter, GenerationAdapter
from tests.adapters.frameworks import Framework
from tests.fakes.server import FakeServer

URL = "http://localhost:1"
ON = {"chat_template_kwargs": {"enable_thinking": True}}
OFF = {"chat_template_kwargs": {"enable_thinking": False}, "thinking_budget_tokens": 0}


@pytest.mark.parametrize(
    ("own", "call", "expected"),
    [
        ({}, {}, {}),
        ({"temperature": 0.5}, {}, {"temperature": 0.5}),
        ({"temperature": 0.5}, {"temperature": 1}, {"temperature": 1}),
        ({"temperature": 0.5}, {"max_tokens": 5}, {"temperature": 0.5, "max_tokens": 5}),
        ({"temperature": 0.0, "logprobs": False}, {}, {"temperature": 0.0, "logprobs": False}),
        ({"return_progress": True}, {}, {"return_progress": True}),
        ({"return_progress": True}, {"return_progress": False}, {"return_progress": False}),
        ({"reasoning": True}, {}, ON),
        ({"reasoning": True}, {"reasoning": False}, OFF),
        ({"reasoning": True}, {"reasoning_effort": None}, {}),
        ({}, {"reasoning": True}, ON),
        ({"reasoning": False}, {}, OFF),
    ],
)
def test_what_a_call_sets_beats_the_constructor(
    own: dict[str, Any], call: dict[str, Any], expected: dict[str, Any]
) -> None:
    given = dict(call)
    fields = ChatAdapter(base_url=URL, **own)._chat_fields(call)

    assert expected == fields
    assert given == call


def test_fields_of_one_request_do_not_reach_the_next() -> None:
    model = ChatAdapter(base_url=URL, temperature=0.5)
    model._chat_fields({"max_tokens": 5})["temperature"] = 2

    assert {"temperature": 0.5} == model._chat_fields({})


def test_the_form_of_answers_may_be_a_type() -> None:
    model = GenerationAdapter(base_url=URL, response_format=list[int])

    assert model.response_format is not None
    assert "json_schema" == model.response_format["type"]


@pytest.mark.parametrize("wrong", ["json", {"type": "grammar"}])
def test_the_form_of_answers_is_checked(wrong: Any) -> None:
    with pytest.raises(MlxcelError, match="response_format"):
        GenerationAdapter(base_url=URL, response_format=wrong)


@pytest.mark.parametrize(
    ("reasoning", "variables", "budget"),
    [
        (True, {"enable_thinking": True}, None),
        (False, {"enable_thinking": False}, 0),
        ("none", {"enable_thinking": False}, 0),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}, None),
    ],
)
@pytest.mark.parametrize("place", ["constructor", "reasoning", "reasoning_effort"])
def test_reasoning_is_switched_so_that_every_server_understands(
    framework: Framework,
    server: FakeServer,
    place: str,
    reasoning: Any,
    variables: dict[str, Any],
    budget: int | None,
) -> None:
    own = reasoning if place == "constructor" else "high"
    call = {} if place == "constructor" else {place: reasoning}
    with framework.model(base_url=server.url, reasoning=own) as llm:
        framework.ask(llm, "x", **call)

    body = server.posts[-1].json
    assert variables == body["chat_template_kwargs"]
    assert budget == body.get("thinking_budget_tokens")
    assert not {"reasoning", "reasoning_effort"} & body.keys()
