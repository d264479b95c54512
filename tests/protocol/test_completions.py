"""Text completions: what is asked, and how its events are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError, MlxcelStreamError
from mlxcel_integrations.protocol.completions import (
    CompletionStream,
    completion_depends_on_engine,
    completion_request,
)
from mlxcel_integrations.protocol.stream import Delta


def test_the_body_asks_for_a_stream_with_usage() -> None:
    request = completion_request("m", "Once", {"stop": "x", "extra_body": {"echo": True}})

    assert "/v1/completions" == request.route
    assert CompletionStream is request.stream
    assert {
        "model": "m",
        "prompt": "Once",
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop": ["x"],
        "echo": True,
    } == request.body


@pytest.mark.parametrize("prompt", [["a", "b"], None, b"a", [1, 2]])
def test_a_prompt_is_one_text(prompt: Any) -> None:
    with pytest.raises(MlxcelError, match=f"not {type(prompt).__name__}; ask once for each"):
        completion_request("m", prompt, {})


LOGPROBS = {"tokens": ["a"], "token_logprobs": [-0.25], "text_offset": [0]}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"text": "a", "finish_reason": None, "logprobs": None}, [Delta("a")]),
        ({"text": "a", "logprobs": LOGPROBS}, [Delta("a", logprobs=LOGPROBS)]),
        ({"text": "", "finish_reason": "length"}, [Delta(finish_reason="length")]),
        ({"text": "a", "finish_reason": "stop"}, [Delta("a", finish_reason="stop")]),
        ({"text": None}, []),
    ],
)
def test_a_choice_becomes_a_delta(choice: dict[str, Any], expected: list[Delta]) -> None:
    data = json.dumps({"choices": [choice]}).encode()

    assert expected == CompletionStream().feed(b"data: " + data + b"\n\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_logprobs": [10**309]},
        {"top_logprobs": [{"b": 10**309}]},
        {"tokens": [1]},
    ],
)
def test_logprobs_that_no_framework_can_read_are_no_answer(wrong: dict[str, Any]) -> None:
    data = json.dumps({"choices": [{"text": "a", "logprobs": LOGPROBS | wrong}]}).encode()
    stream = CompletionStream()

    assert [] == stream.feed(b"data: " + data + b"\n\n")
    with pytest.raises(MlxcelStreamError, match="unknown shape"):
        stream.close()


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("engine", "field", "value"),
    [
        ("mlxcel", "response_format", FORMAT),
        (None, "response_format", FORMAT),
        ("llama.cpp", "json_schema", SCHEMA),
    ],
)
def test_a_schema_is_sent_as_the_engine_takes_it(
    engine: str | None, field: str, value: dict[str, Any]
) -> None:
    body = completion_request("m", "p", {"response_format": FORMAT}, engine).body

    assert value == body[field]
    assert 1 == len({"response_format", "json_schema"} & body.keys())


@pytest.mark.parametrize(
    ("sampling", "sent"),
    [
        ({"logprobs": True}, {"logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 4}, {"logprobs": 4}),
        ({"logprobs": False, "top_logprobs": 4}, {}),
        ({"logprobs": 3}, {"logprobs": 3}),
    ],
)
def test_log_probabilities_are_asked_for_by_their_number(
    sampling: dict[str, Any], sent: dict[str, Any]
) -> None:
    body = completion_request("m", "p", sampling).body

    assert sent == {name: body[name] for name in body.keys() & {"logprobs", "top_logprobs"}}


def test_a_conversation_is_named_in_a_header_and_not_in_the_body() -> None:
    request = completion_request("m", "p", {"session": "user-7"})

    assert "user-7" == request.session
    assert "session" not in request.body
    assert completion_request("m", "p", {}).session is None


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, False),
        ({"temperature": 0}, False),
        ({"response_format": FORMAT}, True),
        ({"response_format": None}, False),
        ({"top_k": 3}, False),
        ({"repetition_penalty": 1.2}, True),
    ],
)
def test_only_some_fields_depend_on_the_engine(sampling: dict[str, Any], expected: bool) -> None:
    assert expected is completion_depends_on_engine(sampling)
