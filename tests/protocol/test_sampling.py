"""Sampling fields as every server version accepts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.completions import completion_request
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.sampling import depends_on_engine, to_wire


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"temperature": None, "stop": None, "max_tokens": None, "n": None}, {}),
        ({"temperature": 0, "top_k": 0, "max_tokens": 0}, None),
        ({"logprobs": False, "logit_bias": {}}, None),
        ({"anything": {"else": [1]}}, None),
        ({"stop": "end"}, {"stop": ["end"]}),
        ({"stop": ("x", "y")}, {"stop": ["x", "y"]}),
        ({"stop": ["x"]}, None),
        ({"stop": []}, {}),
        ({"seed": 7}, None),
        ({"seed": 0}, None),
        ({"seed": -1}, {}),
        ({"n": 1}, {}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"n_predict": 5}, {"max_tokens": 5}),
        ({"repeat_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"repeat_last_n": 9}, {"repetition_context_size": 9}),
        ({"extra_body": None}, {}),
        ({"extra_body": {}}, {}),
        ({"extra_body": {"a": None, "stop": "x"}}, {"a": None, "stop": "x"}),
        ({"a": 1, "b": 2, "extra_body": {"a": 3}}, {"a": 3, "b": 2}),
    ],
    ids=str,
)
def test_fields_on_the_wire(given: dict[str, Any], expected: dict[str, Any] | None) -> None:
    before = repr(given)

    assert (given if expected is None else expected) == to_wire(given)
    assert before == repr(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_tokens": -1}, "max_tokens is -1: leave it out"),
        ({"max_completion_tokens": -2}, "max_tokens is -2"),
        ({"n": 2}, "^n is more than 1: the server gives one answer, so ask several times.$"),
    ],
)
def test_values_that_servers_refuse_or_ignore(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        to_wire(given)


@pytest.mark.parametrize("engine", ["mlxcel", None])
def test_other_engines_get_the_newer_names(engine: str | None) -> None:
    assert {"repetition_penalty": 1.1} == to_wire({"repeat_penalty": 1.1}, engine)


def test_llama_cpp_gets_the_names_that_it_knows() -> None:
    given = {"repetition_penalty": 1.1, "repetition_context_size": 9, "top_k": 3}

    assert {"repeat_penalty": 1.1, "repeat_last_n": 9, "top_k": 3} == to_wire(given, "llama.cpp")


def body_of_chat(engine: str | None, sampling: dict[str, Any]) -> dict[str, Any]:
    server = ServerFeatures(engine, "build 1", (), None, None, None, frozenset())
    return chat_request("m", "hi", sampling, server).body


def body_of_completion(engine: str | None, sampling: dict[str, Any]) -> dict[str, Any]:
    return completion_request("m", "p", sampling, engine).body


@pytest.mark.parametrize("body_of", [body_of_chat, body_of_completion])
@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("llama.cpp", "repeat_penalty"),
        ("mlxcel", "repetition_penalty"),
        (None, "repetition_penalty"),
    ],
)
def test_each_request_names_fields_as_the_engine_knows_them(
    body_of: Callable[..., dict[str, Any]], engine: str | None, name: str
) -> None:
    body = body_of(engine, {"repetition_penalty": 1.2})

    assert {name: 1.2} == {key: body[key] for key in body if key.startswith("repe")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        ({"top_k": 3}, False),
        ({"repetition_penalty": None}, False),
        ({"repetition_penalty": 1.1}, True),
        ({"repeat_last_n": 9}, True),
        ({"top_k": 3, "repeat_penalty": 1.1}, True),
    ],
)
def test_the_engine_must_be_known_for_some_fields(given: dict[str, Any], expected: bool) -> None:
    assert expected is depends_on_engine(given)
