"""Sampling fields as every server version accepts them."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
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
