"""Structured output: which schemas are taken, and what they do to an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .servers import CHAT, COMPLETIONS, Json, Server, ask, deltas, error

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
QUIET = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": 0}
QUESTION = "Count as JSON."


def wanted(schema: object, **more: Any) -> Json:
    return {"type": "json_schema", "json_schema": {"schema": schema, **more}}


def nested(levels: int) -> Json:
    """A schema of two levels of JSON for each of its own, and one at the end."""
    schema: Json = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def with_references(count: int) -> Json:
    names = {f"p{number}": {"$ref": "#/$defs/a"} for number in range(count)}
    return {"$defs": {"a": {"type": "null"}}, "type": "object", "properties": names}


# llama.cpp takes more types, and turns what it can into a grammar; what it cannot, it ignores.
@pytest.mark.parametrize(
    ("response_format", "old", "newest", "llama_cpp"),
    [
        (None, 200, 200, 200),
        ({"type": "text"}, 200, 200, 200),
        (wanted(PERSON), 200, 200, 200),
        (wanted(PERSON, name="person", strict=False), 200, 200, 200),
        ({"type": "json_object"}, 400, 400, 200),
        ({"type": "json_object", "schema": PERSON}, 400, 400, 200),
        ({"type": "xml"}, 400, 400, 400),
        ({}, 400, 400, 200),
        ("json", 400, 400, 200),
        ([PERSON], 400, 400, 200),
        ({"type": "json_schema"}, 400, 400, 200),
        ({"type": "json_schema", "json_schema": {"name": "person"}}, 400, 400, 200),
        (wanted({"enum": ["x" * 65_000]}), 200, 200, 200),
        (wanted({"enum": ["x" * 66_000]}), 400, 400, 200),
        (wanted(nested(15)), 200, 200, 200),
        (wanted(nested(17)), 400, 400, 200),
        (wanted(with_references(64)), 200, 200, 200),
        (wanted(with_references(65)), 400, 400, 200),
    ],
    ids=lambda value: repr(value)[:60] if not isinstance(value, int) else "",
)
def test_what_is_taken_and_what_refused(
    server: Server, response_format: Any, old: int, newest: int, llama_cpp: int
) -> None:
    """A schema is mandatory, and limited in size, in depth and in its references."""
    response = server.post(CHAT, ask(response_format=response_format, max_tokens=1))

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code
    if server.dialect != "llama.cpp" and response.status_code == 400:
        assert "invalid_request_error" == error(response)["type"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_chat_keeps_to_a_schema(server: Server, stream: bool) -> None:
    """Whole or in parts, and it ends by itself."""
    body = ask(QUESTION, response_format=wanted({"enum": ["red"]}), max_tokens=10, **QUIET)

    if stream:
        events = server.events(CHAT, body)
        text = "".join(delta.get("content") or "" for delta in deltas(events))
        reason = events[-1]["choices"][0]["finish_reason"]
    else:
        (choice,) = server.ok(CHAT, body)["choices"]
        text, reason = choice["message"]["content"], choice["finish_reason"]

    assert "red" == json.loads(text)
    # llama.cpp lets white space stand around it, in which some models go on.
    assert reason in server.choose(old=["stop"], newest=["stop"], llama_cpp=["stop", "length"])


@pytest.mark.parametrize("name", ["response_format", "json_schema"])
def test_a_completion_keeps_to_a_schema(server: Server, name: str) -> None:
    """mlxcel and llama.cpp each ignore the name that the other one knows."""
    value = wanted({"enum": [7]}) if name == "response_format" else {"enum": [7]}
    body = {"model": "any", "prompt": "Seven is", "max_tokens": 2, "temperature": 0, name: value}

    (choice,) = server.ok(COMPLETIONS, body)["choices"]

    knows = server.choose(old="response_format", newest="response_format", llama_cpp="json_schema")
    assert (knows == name) == (choice["text"].strip() == "7")


def test_a_grammar_is_ignored_in_chats(server: Server) -> None:
    """llama.cpp keeps to it."""
    text = server.text("Say something.", grammar='root ::= "7"', max_tokens=4)

    assert server.choose(old=False, newest=False, llama_cpp=True) == (text == "7")


def test_the_model_is_not_told_the_schema(server: Server) -> None:
    """The prompt is as long as without it."""
    sizes = [
        server.ok(CHAT, ask(max_tokens=1, response_format=wanted_format))["usage"]["prompt_tokens"]
        for wanted_format in (None, wanted(PERSON))
    ]

    assert sizes[0] == sizes[1]


def test_an_answer_that_is_cut_is_no_json(server: Server) -> None:
    """It ends with `length`, and nothing else tells that something is missing."""
    schema = {"enum": [["one", "two", "three"]]}

    choice = server.chat(QUESTION, response_format=wanted(schema), max_tokens=2, **QUIET)

    assert "length" == choice["finish_reason"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["content"])
