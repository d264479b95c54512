"""Sampling and reasoning fields as every server version accepts them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.options.fields import SamplingParams
from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.completions import completion_request
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.protocol.sampling import (
    FIELD_TYPES,
    OTHER_NAMES,
    answer_room,
    asking_for_progress,
    checked_fields,
    depends_on_engine,
    reasoning_read,
    request_fields,
    with_reasoning,
    without_progress,
    without_thinking,
)
from mlxcel_integrations.protocol.schemas.schema_use import SchemaUse

np = pytest.importorskip("numpy")

FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "boolean"}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"temperature": None, "stop": None, "max_tokens": None, "n": None}, {}),
        ({"temperature": 0, "top_k": 0, "max_tokens": 0}, None),
        ({"logprobs": False, "logit_bias": {}}, None),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"top_logprobs": 2, "logprobs": False}, None),
        ({"anything": {"else": [1]}}, None),
        ({"stop": "end"}, {"stop": ["end"]}),
        ({"stop": ("x", "y")}, {"stop": ["x", "y"]}),
        ({"stop": ["x"]}, None),
        ({"stop": []}, {}),
        ({"stop": ""}, {}),
        ({"stop": ["", "x"]}, {"stop": ["x"]}),
        ({"stop": ["x"], "response_format": FORMAT}, {"response_format": FORMAT}),
        ({"stop": ["x"], "response_format": {"type": "text"}}, None),
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
def test_fields_have_the_names_that_servers_know(
    given: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    before = repr(given)

    assert (given if expected is None else expected) == request_fields(given)
    assert before == repr(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_tokens": -1}, "max_tokens is -1: leave it out"),
        ({"max_completion_tokens": -2}, "max_tokens is -2"),
        ({"n": 2}, "^n is more than 1: the server gives one answer, so make several calls.$"),
    ],
)
def test_values_that_servers_refuse_or_ignore_are_errors(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        request_fields(given)


@pytest.mark.parametrize("engine", ["mlxcel", None])
def test_other_engines_get_the_newer_names(engine: str | None) -> None:
    assert {"repetition_penalty": 1.1} == request_fields({"repeat_penalty": 1.1}, engine)


class Effort(StrEnum):
    LOW = "low"


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("max_tokens", np.int64(1), 1),
        ("seed", np.int64(5), 5),
        ("temperature", Fraction(1, 2), 0.5),
        ("cache_prompt", np.True_, True),
        ("logprobs", np.int64(5), 5),
    ],
)
def test_values_of_any_library_become_plain_ones(name: str, given: Any, expected: Any) -> None:
    found = checked_fields({"top_k": None, "new": "x", name: given})

    assert {"top_k": None, "new": "x", name: expected} == found
    assert type(expected) is type(found[name])


@pytest.mark.parametrize(
    "given",
    [
        {"max_tokens": 5, "temperature": 1, "user": "me", "logit_bias": {}, "new": object()},
        {"reasoning_effort": Effort.LOW},
        {"logit_bias": UserDict({"5": -100})},
        {"stop": ["###"], "logprobs": 5, "bounded": False},
        {"top_k": None, "dry_sequence_breakers": 5},
    ],
    ids=["usual", "a kind of text", "a kind of dictionary", "lists and switches", "other fields"],
)
def test_values_that_servers_expect_stay_as_they_are(given: dict[str, Any]) -> None:
    found = checked_fields(given)

    assert given.keys() == found.keys()
    assert all(value is found[name] for name, value in given.items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_tokens": "5"}, "max_tokens='5' must be a whole number, not str."),
        ({"top_p": "1"}, "top_p='1' must be a number, not str."),
        ({"max_tokens": True}, "max_tokens=True must be a whole number, not bool."),
        ({"top_p": True}, "top_p=True must be a number, not bool."),
        ({"user": 5}, "user=5 must be a str, not int."),
        ({"cache_prompt": "no"}, "cache_prompt='no' must be True or False, not str."),
        ({"logprobs": "5"}, "logprobs='5' must be True or False, not str."),
        ({"stop": 5}, "stop= must be a list of strings, not int."),
        (
            {"logit_bias": [5]},
            'logit_bias= must be a dictionary such as {"5": -100}, not list.',
        ),
    ],
    ids=[
        "a whole number",
        "a number",
        "no count",
        "no number",
        "a text",
        "a switch",
        "counts",
        "texts",
        "a dictionary",
    ],
)
def test_a_value_of_another_type_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        checked_fields({"top_k": 3, **given})

    assert message == str(caught.value)


EXPECTED_TYPES = {
    int | None: {int},
    float | None: {int, float},
    bool | None: {bool},
    str | None: {str},
    list[str] | None: {str, list},
    dict[str, Any] | None: {dict},
    dict[str, float] | None: {dict},
}
"""What the clients take for a field of each type without a closer look."""

PLAIN_FIELDS = {
    name: EXPECTED_TYPES[field.annotation]
    for name, field in SamplingParams.model_fields.items()
    if field.annotation in EXPECTED_TYPES
}


@pytest.mark.parametrize("name", [*PLAIN_FIELDS, *OTHER_NAMES])
def test_every_field_with_a_plain_type_is_checked_as_such(name: str) -> None:
    expected = PLAIN_FIELDS[OTHER_NAMES.get(name, name)]
    place = f"Write {name!r} among the names of its type in protocol/sampling.py."

    assert expected == FIELD_TYPES.get(name), place


def test_stop_texts_of_an_iterator_can_be_read_again() -> None:
    assert {"stop": ["a", "b"]} == checked_fields({"stop": iter("ab")})


async def awaited(progress: Any) -> None:
    """Cannot be called while an answer streams."""


def test_progress_is_asked_for_if_there_is_a_function_for_it() -> None:
    given = {"top_k": 3}

    assert given is asking_for_progress(given, None)
    assert {"return_progress": True, "top_k": 3} == asking_for_progress(given, print)
    assert {"return_progress": False} == asking_for_progress({"return_progress": False}, print)
    assert given == without_progress({"return_progress": True, **given})


@pytest.mark.parametrize(
    ("progress", "message"),
    [
        (True, r"^progress=True must be a function that takes a PromptProgress, not bool\.$"),
        (awaited, r"^progress=<function .* must be a plain function: its result is not awaited\.$"),
    ],
    ids=["no function", "an asynchronous one"],
)
def test_progress_that_cannot_be_called_is_refused(progress: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        asking_for_progress({}, progress)


def test_llama_cpp_gets_the_names_that_it_knows() -> None:
    given = {"repetition_penalty": 1.1, "repetition_context_size": 9, "top_k": 3}

    assert {"repeat_penalty": 1.1, "repeat_last_n": 9, "top_k": 3} == request_fields(
        given, "llama.cpp"
    )


def body_of_chat(engine: str | None, sampling: dict[str, Any]) -> dict[str, Any]:
    server = ServerFeatures(engine, "build 1", (), None, None, None, frozenset())
    return chat_request("m", inspect("hi"), sampling, server).body


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


# --------------------------------------------------------------------------- reasoning

THINKS = {"enable_thinking": True}
NOT = {"chat_template_kwargs": {"enable_thinking": False}, "thinking_budget_tokens": 0}


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (None, {}),
        (True, {"chat_template_kwargs": THINKS}),
        ("low", {"chat_template_kwargs": {**THINKS, "reasoning_effort": "low"}}),
        (False, NOT),
        ("none", NOT),
        ("off", NOT),
        ("disabled", NOT),
        ({"effort": "low"}, {"chat_template_kwargs": {**THINKS, "reasoning_effort": "low"}}),
        ({"effort": "none", "summary": "auto"}, NOT),
        ({"summary": "auto"}, {}),
    ],
)
def test_thinking_is_switched_by_variables_of_the_template(
    reasoning: bool | str | dict[str, str] | None, expected: dict[str, Any]
) -> None:
    sampling = {"temperature": 0.5}

    assert {"temperature": 0.5, **expected} == with_reasoning(sampling, reasoning)
    assert {"temperature": 0.5} == sampling


def test_a_field_for_thinking_is_written_as_servers_know_it() -> None:
    sampling = {"top_k": 3, "reasoning": "low"}

    assert {
        "top_k": 3,
        "chat_template_kwargs": {**THINKS, "reasoning_effort": "low"},
    } == reasoning_read(sampling)
    assert {"top_k": 3, "reasoning": "low"} == sampling


@pytest.mark.parametrize("given", [{}, {"reasoning": None}, {"reasoning": {"effort": "low"}}])
def test_a_field_for_thinking_that_servers_know_stays(given: dict[str, Any]) -> None:
    assert given is reasoning_read(given)


def test_a_field_for_thinking_of_another_type_is_refused() -> None:
    with pytest.raises(MlxcelError) as caught:
        reasoning_read({"reasoning": 5})

    assert ("reasoning=5 must be True, False, or an effort such as 'low', not int.") == str(
        caught.value
    )


def test_a_stop_text_that_is_none_is_named() -> None:
    with pytest.raises(MlxcelError, match=r"^stop\[0\]"):
        request_fields({"stop": [5]})


@pytest.mark.parametrize("reasoning", [True, False, "high"])
def test_what_the_fields_say_about_thinking_stays(reasoning: bool | str) -> None:
    own = {"enable_thinking": "auto", "reasoning_effort": "low", "x": 1}
    sampling = {"chat_template_kwargs": own, "thinking_budget_tokens": 9}

    assert sampling == with_reasoning(sampling, reasoning)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"enable_thinking": False}),
        ({"chat_template_kwargs": None}, {"enable_thinking": False}),
        ({"chat_template_kwargs": {"a": 1}}, {"enable_thinking": False, "a": 1}),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False}),
        ({"reasoning_effort": "low"}, None),
        ({"thinking_budget_tokens": 0}, {"enable_thinking": False}),
        ({"thinking_budget_tokens": 100}, None),
        ({"thinking_budget_tokens": 100, "chat_template_kwargs": {"a": 1}}, {"a": 1}),
    ],
)
def test_thinking_is_off_unless_the_fields_ask_for_it(given: dict[str, Any], expected: Any) -> None:
    before = repr(given)
    fields = without_thinking({"top_k": 3, **given})

    assert expected == fields.pop("chat_template_kwargs", None)
    assert {"top_k": 3} == {name: fields[name] for name in fields.keys() - given.keys()}
    assert before == repr(given)


def test_the_limits_of_mlxcel_for_schemas_do_not_hold_for_llama_cpp() -> None:
    schema = {"enum": ["x" * 70_000]}
    fields = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    }

    assert depends_on_engine(fields)
    assert fields == request_fields(fields, "llama.cpp")
    for engine in ("mlxcel", None):
        with pytest.raises(MlxcelError, match="mlxcel accepts at most 65536"):
            request_fields(fields, engine)


@pytest.mark.parametrize(
    ("max_tokens", "expected"), [(0, 0), (1, 1), (3, 2), (100, 50), (2048, 1024), (9000, 1024)]
)
def test_an_answer_after_thoughts_has_half_of_the_room_but_not_too_much(
    max_tokens: int, expected: int
) -> None:
    assert expected == answer_room(max_tokens)


def test_tight_bounds_fit_into_the_room_behind_thoughts() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    think = {"chat_template_kwargs": {"enable_thinking": True}}

    def longest(**fields: Any) -> int:
        body = request_fields(
            {"response_format": wanted, "schema_use": SchemaUse(tight=True), **fields}
        )
        sent = body["response_format"]["json_schema"]["schema"]
        return int(sent["properties"]["a"]["maxLength"])

    assert longest(max_tokens=200) > longest(max_tokens=200, **think)
    assert longest(max_tokens=100) == longest(max_tokens=200, **think)
