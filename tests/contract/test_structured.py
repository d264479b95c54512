"""Structured output: which schemas are taken, and what they do to an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
        ({}, 200, 400, 200),
        ({"type": 5}, 200, 400, 200),
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


def test_a_stream_keeps_to_a_schema(server: Server) -> None:
    """v0.4.2 knows no end of its grammar: it fails after the last token, and tells no usage."""
    body = ask(QUESTION, response_format=wanted({"enum": ["red"]}), max_tokens=10, **QUIET)

    events = server.events(CHAT, {**body, "stream_options": {"include_usage": True}})

    *_, last = [event for event in events if event["choices"]]
    assert "red" == json.loads(joined(events))
    # llama.cpp lets white space stand around it, in which some models go on.
    reasons = server.choose(old=["error"], newest=["stop"], llama_cpp=["stop", "length"])
    assert last["choices"][0]["finish_reason"] in reasons
    assert server.choose(old=False, newest=True, llama_cpp=True) == ("usage" in events[-1])


def test_a_whole_answer_keeps_to_a_schema(server: Server) -> None:
    """v0.4.2 fails when it is complete, and its text is lost."""
    body = ask(QUESTION, response_format=wanted({"enum": ["red"]}), max_tokens=10, **QUIET)

    response = server.post(CHAT, body)

    if server.dialect == "v0.4.2":
        assert (400, "server_error") == (response.status_code, error(response)["type"])
        assert "returned an empty mask" in error(response)["message"]
        return
    (choice,) = response.json()["choices"]
    assert "red" == json.loads(choice["message"]["content"])


@pytest.mark.parametrize("schema", [{"type": "integer"}, {"type": "object"}], ids=repr)
def test_a_grammar_that_allows_more_is_not_left(scripted: Server, schema: Json) -> None:
    """v0.4.2 goes on up to the limit, in whole answers too, behind a value that is complete."""
    body = ask(response_format=wanted(schema), max_tokens=20)

    events = scripted.events(CHAT, body)

    reason = events[-1]["choices"][0]["finish_reason"]
    assert scripted.choose(old="length", newest="stop") == reason
    json.loads(joined(events))
    assert 200 == scripted.post(CHAT, body).status_code


def joined(events: Sequence[Json]) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(events))


@pytest.mark.parametrize("name", ["response_format", "json_schema"])
def test_a_completion_keeps_to_a_schema(server: Server, name: str) -> None:
    """mlxcel and llama.cpp each ignore the name that the other one knows."""
    value = wanted({"enum": [7]}) if name == "response_format" else {"enum": [7]}
    body = {"model": "any", "prompt": "Seven is", "max_tokens": 2, "temperature": 0, name: value}

    events = server.events(COMPLETIONS, body)

    text = "".join(event["choices"][0]["text"] for event in events if event["choices"])
    knows = server.choose(old="response_format", newest="response_format", llama_cpp="json_schema")
    assert (knows == name) == (text.strip() == "7")


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
