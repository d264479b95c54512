"""Structured output through the clients, with both server generations."""

from __future__ import annotations

import asyncio
import enum
import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from mlxcel_integrations import (
    LLM,
    AsyncLLM,
    MlxcelError,
    StructuredOutputError,
    StructuredOutputTruncated,
)
from tests.client.test_freeing import Leave, cancel, freed
from tests.fakes.server import FakeServer, Reply

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
OSLO = '{"name": "Oslo", "people": 7}'


class City(BaseModel):
    name: str
    people: int
    twin: City | None = None


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


CITY = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
}


BOX = {
    "type": "object",
    "properties": {"size": {"$ref": "#/$defs/Größe[int]"}},
    "required": ["size"],
    "additionalProperties": False,
    "$defs": {"Größe[int]": {"enum": ["small"]}},
}


@BOTH
@pytest.mark.parametrize(
    "fields",
    [
        {"schema": BOX},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "b", "schema": BOX}}},
        {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": BOX}}],
            "tool_choice": "f",
        },
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_definitions_may_have_names_that_servers_refuse(
    client: Any, generation: str, fields: dict[str, Any]
) -> None:
    reply = client.complete_chat("How large?", **fields)

    (call,) = reply.tool_calls or [{"function": {"arguments": reply.text}}]
    assert {"size": "small"} == json.loads(call["function"]["arguments"])


@BOTH
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (City, City(name="x", people=1, twin=City(name="x", people=1))),
        (CITY, {"name": "x", "people": 1}),
        ({"name": "city", "schema": CITY}, {"name": "x", "people": 1}),
        (list[bool], [True]),
        (Size, Size.SMALL),
        (Literal["a", "b"], "a"),
        (int, 1),
        (bool | None, True),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_chat_returns_objects(client: Any, kind: Any, expected: Any) -> None:
    assert expected == client.chat("Which one?", schema=kind)


@BOTH
def test_a_whole_reply_has_the_object_and_the_text(client: Any, server: FakeServer) -> None:
    server.script(Reply.text(OSLO, reasoning="Hm"))

    reply = client.complete_chat("Which one?", schema=City, temperature=0)

    assert City(name="Oslo", people=7) == reply.parsed
    # The older one fails after the last token that its grammar knows.
    finish = "error" if server.generation == "v0.4.2" else "stop"
    assert (OSLO, "Hm", finish) == (reply.text, reply.reasoning, reply.finish_reason)
    sent = server.posts[0].json
    assert "City" == sent["response_format"]["json_schema"]["name"]
    assert {"enable_thinking": False} == sent["chat_template_kwargs"]
    (question,) = sent["messages"]
    assert question["content"].startswith("Which one?\n\nAnswer with JSON that fits this JSON")
    assert 0 == sent["temperature"]
    assert {"schema", "show_schema", "tools"}.isdisjoint(sent)


WAYS = ["chat", "chat_stream", "generate", "stream"]
FORMATS = [City, list[int], CITY, {"type": "json_object"}, {"name": "city", "schema": CITY}]


@BOTH
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wanted", FORMATS, ids=lambda value: repr(value)[:30])
def test_a_response_format_may_be_all_that_a_schema_is_made_of(
    client: Any, server: FakeServer, way: str, wanted: Any
) -> None:
    answer = getattr(client, way)("Which one?", response_format=wanted, bounded=False)

    assert isinstance(json.loads("".join(answer)), dict)
    sent = server.posts[-1].json
    assert "json_schema" == sent["response_format"]["type"]
    schema = sent["response_format"]["json_schema"]["schema"]
    if "chat" in way:
        shown = sent["messages"][0]["content"]
        assert json.dumps(schema, separators=(",", ":")) in shown
        assert {"enable_thinking": False} == sent["chat_template_kwargs"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("json_object", "^response_format=.json_object. is unknown: pass a class"),
        (
            {"type": "structural_tag"},
            "^response_format=.* is unknown: pass a class.*extra_body={.response_format.: ...}.$",
        ),
        ({"type": "strin"}, "The schema is invalid at /type"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "is not a response_format"),
    ],
)
def test_a_response_format_that_cannot_be_is_refused_before_it_is_sent(
    client: Any, server: FakeServer, way: str, wanted: Any, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        getattr(client, way)("Which one?", response_format=wanted)
    assert [] == server.posts


def test_a_response_format_that_only_other_servers_know_is_sent_as_it_is(
    client: Any, server: FakeServer
) -> None:
    tag = {"type": "structural_tag", "structures": []}
    with pytest.raises(openai.BadRequestError, match="unsupported response_format type"):
        client.chat("Which one?", extra_body={"response_format": tag})

    assert tag == server.posts[-1].json["response_format"]


def test_the_schema_of_a_response_format_is_shown_unless_it_shall_not(
    client: Any, server: FakeServer
) -> None:
    for fields in ({}, {"show_schema": False}, {"response_format": {"type": "text"}}):
        client.chat("Which one?", **{"response_format": City, **fields})

    questions = [post.json["messages"][0]["content"] for post in server.posts]
    assert questions[0].startswith("Which one?\n\nAnswer with JSON that fits this JSON schema:")
    assert ["Which one?", "Which one?"] == questions[1:]


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$recursiveRef"])
def test_a_schema_that_is_elsewhere_is_refused_before_anything_is_sent(
    client: Any, server: FakeServer, keyword: str
) -> None:
    schema = {"type": "object", "properties": {"a": {keyword: "file:///etc/hostname"}}}
    with pytest.raises(MlxcelError, match="The schema refers to 'file:///etc/hostname'"):
        client.chat("Which one?", schema=schema)

    assert [] == server.posts


def test_an_answer_that_takes_too_long_to_check_is_an_error(
    client: Any, server: FakeServer
) -> None:
    levels = {
        f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(30)
    }
    schema = {"type": "object", "allOf": [{"$ref": "#/$defs/a0"}], "$defs": {**levels, "a30": {}}}
    server.script(Reply.text("{}"))
    with pytest.raises(StructuredOutputError, match="checking it takes too long"):
        client.chat("Which one?", schema=schema)


def test_the_schema_need_not_be_shown(client: Any, server: FakeServer) -> None:
    client.chat("Which one?", schema=City, show_schema=False)
    client.complete_chat("Which one?", schema=City, show_schema=False)
    client.chat_stream("Which one?", schema=City, show_schema=False)

    question = [{"role": "user", "content": "Which one?"}]
    assert [question] * 3 == [post.json["messages"] for post in server.posts]


@BOTH
def test_an_answer_among_the_thoughts_is_found(client: Any, server: FakeServer) -> None:
    server.script(*[Reply.text("", reasoning=OSLO)] * 2)
    oslo = City(name="Oslo", people=7)

    assert oslo == client.chat("Which one?", schema=City)
    assert oslo == client.chat_stream("Which one?", schema=City)[-1]


@BOTH
def test_objects_fill_while_they_are_streamed(client: Any, server: FakeServer) -> None:
    server.script(Reply.text('{"name": "New York", "people": 7}'))

    seen = client.chat_stream("Which one?", schema=City)

    names = [city.name for city in seen]
    assert [None, "New", "New York"] == sorted(set(names), key=names.index)
    assert City(name="New York", people=7) == seen[-1]
    assert {City} == {type(city) for city in seen}


@BOTH
@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
def test_a_cut_answer_is_an_error(client: Any, server: FakeServer, method: str) -> None:
    server.script(Reply.text('{"name": "x",', finish="length"))

    with pytest.raises(StructuredOutputTruncated, match="raise max_tokens") as caught:
        getattr(client, method)("Which one?", schema=City, max_tokens=5, max_attempts=1)

    error = caught.value
    assert ('{"name": "x",', "length", {"name": "x"}) == (
        error.raw,
        error.finish_reason,
        error.partial,
    )


@BOTH
def test_an_answer_that_does_not_fit_is_an_error(client: Any, server: FakeServer) -> None:
    server.script(Reply.text('{"name": "Oslo"}'), Reply.text("Oslo, I think."))

    with pytest.raises(StructuredOutputError, match="'people' is a required"):
        client.chat("Which one?", schema=CITY, max_attempts=1)
    with pytest.raises(StructuredOutputError, match="not JSON: 'Oslo, I think"):
        client.chat("Which one?", schema=CITY)


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
@pytest.mark.parametrize("kind", [{}, "City", {"$ref": "#"}, {"type": "json_object"}], ids=str)
def test_bad_schemas_are_refused_before_anything_is_sent(
    client: Any, server: FakeServer, method: str, kind: Any
) -> None:
    with pytest.raises(MlxcelError, match=r"schema"):
        getattr(client, method)("Which one?", schema=kind)

    assert [] == server.posts


@BOTH
@pytest.mark.parametrize("fields", [{}, {"chat_template_kwargs": {"enable_thinking": True}}])
def test_thinking_can_be_asked_for(client: Any, server: FakeServer, fields: Any) -> None:
    client.chat("Which one?", schema=City, **fields)

    sent = server.posts[0].json["chat_template_kwargs"]
    assert bool(fields) is sent["enable_thinking"]


def test_leaving_a_stream_of_objects_frees_the_server(server: FakeServer) -> None:
    server.script(Reply.text('{"name": "New York"', delay=60))
    with LLM(base_url=server.url) as llm:
        for city in llm.chat_stream("Which one?", schema=City):
            assert City.model_construct(name=None, people=None) == city
            break

        assert freed(server)


async def stop_waiting(llm: AsyncLLM, server: FakeServer) -> None:
    await cancel(llm.chat("Which one?", schema=City), server)


async def stop_reading(llm: AsyncLLM, server: FakeServer) -> None:
    async for _ in llm.chat_stream("Which one?", schema=City):
        break


@pytest.mark.parametrize("leave", [stop_waiting, stop_reading])
async def test_leaving_objects_asynchronously_frees_the_server(
    server: FakeServer, leave: Leave
) -> None:
    server.script(Reply.text('{"name": "New York"', delay=60))
    async with AsyncLLM(base_url=server.url) as llm:
        await leave(llm, server)

        assert await asyncio.to_thread(freed, server)


# --------------------------------------------------------------------------- refused schemas


REFUSED = {
    "look-around": ({"type": "string", "pattern": "^(?=a)a"}, "abc", "bc"),
    "a format": ({"type": "string", "format": "idn-email"}, "a@b", 3),
    "overlapping choices": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 0.5, 1),
}


@pytest.fixture
def old(server: FakeServer) -> FakeServer:
    """A server that refuses what its grammar cannot say."""
    server.generation = "v0.4.2"
    return server


@pytest.mark.parametrize("method", ["complete_chat", "chat_stream"])
@pytest.mark.parametrize(("part", "fits", "misfits"), REFUSED.values(), ids=list(REFUSED))
def test_a_schema_that_the_server_refuses_is_sent_without_what_it_does_not_know(
    client: Any, old: FakeServer, method: str, part: Any, fits: Any, misfits: Any
) -> None:
    schema = {"type": "object", "properties": {"a": part}, "required": ["a"]}
    old.think = lambda body: Reply.text(json.dumps({"a": answers.pop(0)}))

    answers = [fits] * 3
    for _ in range(2):
        reply = getattr(client, method)("Which one?", schema=schema)
        value = reply[-1] if isinstance(reply, list) else reply.parsed
        assert {"a": fits} == value
    # The refusal costs one request once.
    first, *others = [post.json["response_format"]["json_schema"]["schema"] for post in old.posts]
    assert first["properties"]["a"].items() >= part.items()
    assert 2 == len(others)
    assert first != others[0]
    assert others[0] == others[1]

    answers = [misfits] * 2
    with pytest.raises(StructuredOutputError, match=r"does not fit the schema .* at /a: "):
        client.chat("Which one?", schema=schema)


def test_what_one_server_refused_is_tried_with_another(old: FakeServer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?i)a"}}}
    old.think = lambda body: Reply.text('{"a": "A"}')

    with LLM(base_url=old.url) as llm:
        llm.chat("Which one?", schema=schema)
        llm._connection.forget()
        llm.chat("Which one?", schema=schema)

    whole = ["pattern" in json.dumps(post.json["response_format"]) for post in old.posts]
    assert [True, False, True, False] == whole


def test_a_format_of_the_user_whose_answer_nobody_checks_is_not_relaxed(
    client: Any, old: FakeServer
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?i)a"}}}
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    with pytest.raises(openai.BadRequestError, match="schema compilation failed"):
        client.chat("Which one?", response_format=format_)

    assert 1 == len(old.posts)


# --------------------------------------------------------------------------- large schemas


LARGE = {"type": "object", "properties": {"a": {"enum": ["x", "y" * 70_000]}}, "required": ["a"]}


@BOTH
@pytest.mark.parametrize("method", ["chat", "chat_stream"])
def test_a_schema_beyond_the_limits_of_mlxcel_is_refused_before_anything_is_sent(
    client: Any, server: FakeServer, method: str
) -> None:
    with pytest.raises(MlxcelError, match="bytes, but mlxcel accepts at most 65536"):
        getattr(client, method)("Which one?", schema=LARGE)
    assert [] == server.posts


@BOTH
def test_unused_definitions_do_not_count(client: Any, server: FakeServer) -> None:
    schema = {**CITY, "$defs": {"Large": {"enum": ["y" * 70_000]}}}

    assert {"name": "x", "people": 1} == client.chat("Which?", schema=schema, show_schema=False)
    assert "$defs" not in server.posts[-1].json["response_format"]["json_schema"]["schema"]
