"""Text completions and infill: requests, and how their events are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError, MlxcelStreamError
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import ChatReply, fold
from mlxcel_integrations.protocol.completions import (
    CompletionStream,
    InfillStream,
    completion_depends_on_engine,
    completion_request,
)


def test_the_body_asks_for_a_stream_with_usage() -> None:
    request = completion_request("m", "Once", {"stop": "x", "extra_body": {"echo": True}})

    assert "/v1/completions" == request.route
    assert isinstance(request.stream(), CompletionStream)
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
    with pytest.raises(MlxcelError, match=f"not {type(prompt).__name__}: make one call for each"):
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


SCHEMA = {"type": "object", "properties": {"a": {"type": "number"}}}
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


# --------------------------------------------------------------------------- /infill


def test_a_suffix_asks_for_what_stands_between() -> None:
    sampling = {"suffix": "b", "max_tokens": 5, "repetition_penalty": 1.1, "stop": "x", "seed": -1}
    request = completion_request("m", "a", sampling)

    assert ("/infill", InfillStream) == (request.route, type(request.stream()))
    assert {
        "model": "m",
        "input_prefix": "a",
        "input_suffix": "b",
        "stream": True,
        "n_predict": 5,
        "repeat_penalty": 1.1,
        "stop": ["x"],
    } == request.body


def test_a_conversation_with_a_suffix_is_named_in_a_header_and_not_in_the_body() -> None:
    request = completion_request("m", "a", {"suffix": "b", "session": "user-7"})

    assert "user-7" == request.session
    assert "session" not in request.body
    assert completion_request("m", "a", {"suffix": "b"}).session is None


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"suffix": 3}, "suffix= must be a string, not int"),
        ({"suffix": "b", "logprobs": True}, "logprobs= cannot be used together with suffix="),
        ({"suffix": "b", "response_format": {"type": "text"}}, "response_format= cannot be used"),
    ],
)
def test_what_the_route_does_not_have_is_refused(sampling: dict[str, Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        completion_request("m", "a", sampling)


def read_deltas(*events: Any) -> list[Delta]:
    stream = InfillStream()
    deltas = stream.feed(b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events))
    stream.close()
    return deltas


def read(*events: Any) -> ChatReply:
    return fold(read_deltas(*events))


@pytest.mark.parametrize(
    ("stop_type", "finish"), [("eos", "stop"), ("word", "stop"), ("limit", "length")]
)
def test_an_answer_is_read(stop_type: str, finish: str) -> None:
    end = {"content": "", "stop": True, "stop_type": stop_type, "model": "m"}
    counts = {"tokens_evaluated": 3, "tokens_predicted": 2, "timings": {"predicted_n": 2}}
    reply = read({"content": "x", "stop": False}, {"content": " y", "stop": False}, end | counts)

    assert ("x y", finish, "m") == (reply.text, reply.finish_reason, reply.model)
    assert {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5} == reply.usage
    assert {"predicted_n": 2} == reply.timings


COUNTS = {"tokens_evaluated": 3, "tokens_predicted": 1}
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        pytest.param(COUNTS, COUNTS, USAGE, id="only the last counts"),
        pytest.param(COUNTS, {}, None, id="no counts at the end"),
        pytest.param({}, {"tokens_predicted": 1}, None, id="half of them"),
    ],
)
def test_usage_comes_once_and_whole_or_not_at_all(
    first: dict[str, int], last: dict[str, int], usage: dict[str, int] | None
) -> None:
    deltas = read_deltas({"content": "x", **first}, {"content": "", "stop": True, **last})

    assert [Delta("x"), Delta(finish_reason="stop", usage=usage)] == deltas


def test_a_cut_answer_is_an_error_that_keeps_its_text() -> None:
    with pytest.raises(MlxcelStreamError, match="cut short"):
        read({"content": "x", "stop": False})


@pytest.mark.parametrize(
    ("event", "message"),
    [({"error": {"message": "no more"}}, "no more"), ({"content": 3}, "unknown shape")],
)
def test_what_is_no_answer_is_an_error(event: Any, message: str) -> None:
    with pytest.raises(MlxcelStreamError, match=message):
        read(event)


def test_an_event_that_is_not_json_is_an_error_beside_a_suffix_too() -> None:
    stream = InfillStream()
    stream.feed(b"data: {\n\n")

    with pytest.raises(MlxcelStreamError, match="not a JSON object"):
        stream.close()
