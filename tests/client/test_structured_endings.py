"""Ends of structured answers of mlxcel up to v0.4.2: failed, or running on after their JSON."""

from __future__ import annotations

import enum
import json
import time
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, ConfigDict

from mlxcel_integrations import (
    MlxcelError,
    MlxcelStreamError,
    StructuredOutputError,
    StructuredOutputTruncated,
)
from tests.client.test_freeing import freed
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer, Reply

OSLO = '{"name": "Oslo", "people": 7}'


class City(BaseModel):
    name: str
    people: int


class Trip(BaseModel):
    towns: list[City]
    by: Literal["train", "ship"]
    note: str | None = None


class Town(TypedDict):
    name: str


@dataclass
class Village:
    name: str
    sheep: float


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
OPEN = {
    "title": "Town",
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}
CLOSED = {**OPEN, "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CLOSED}}
OPEN_TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {**OPEN, "additionalProperties": True}},
}
OTHER_TOOL = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}


@pytest.fixture
def generation() -> Generation:
    return "v0.4.2"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (City, City(name="x", people=1)),
        (Trip, Trip(towns=[City(name="x", people=1)], by="train", note="x")),
        (Town, {"name": "x"}),
        (Village, Village("x", 1)),
        (CLOSED, {"name": "x"}),
        (Size, Size.SMALL),
        (Literal["a", "b"], "a"),
        (list[City], [City(name="x", people=1)]),
        (list[Literal["a", "b"]], ["a"]),
        (City | Size, City(name="x", people=1)),
        (int, 1),
        (float, 1.0),
        (str, "x"),
        (bool, True),
    ],
    ids=lambda kind: repr(kind)[:40],
)
def test_an_answer_that_fails_after_its_json_is_an_answer(
    client: Any, kind: Any, expected: Any
) -> None:
    """Numbers and texts are sent in an object, whose end can be told."""
    reply = client.complete_chat("Which one?", schema=kind)

    assert (expected, "error", None) == (reply.parsed, reply.finish_reason, reply.usage)
    assert expected == client.chat("Which one?", schema=kind)
    assert expected == client.chat_stream("Which one?", schema=kind)[-1]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Open, Open(name="x")),
        (OPEN, {"name": "x"}),
        (dict[str, int], {}),
    ],
    ids=["class", "schema", "dict"],
)
def test_a_server_that_runs_on_after_the_json_is_left(
    client: Any, server: FakeServer, kind: Any, expected: Any
) -> None:
    server.token_seconds = 0.005

    began = time.monotonic()
    reply = client.complete_chat("Which one?", schema=kind)

    assert time.monotonic() - began < 2  # all tokens would take 20 seconds
    assert (expected, "stop") == (reply.parsed, reply.finish_reason)
    assert freed(server)
    tokens = reply.usage["completion_tokens"]
    assert {"completion_tokens": tokens} == reply.usage
    assert tokens <= server.frames_sent < tokens + 20


def test_streamed_objects_end_there_too(client: Any, server: FakeServer) -> None:
    server.token_seconds = 0.005

    values = client.chat_stream("Which one?", schema=OPEN)

    assert {"name": "x"} == values[-1]
    assert freed(server)
    assert server.frames_sent < 40


@pytest.mark.parametrize("schema", [CLOSED, OPEN], ids=["closed", "open"])
def test_completions_that_keep_to_a_schema_end_with_their_json(client: Any, schema: Any) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "town", "schema": schema}}

    assert '{"name":"x"}' == client.generate("Which?", response_format=format_)
    assert '{"name":"x"}' == "".join(client.stream("Which?", response_format=format_))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"enum": ["small", "large"]}, '"small"'),
        ({"type": "boolean"}, "true"),
        ({"type": "null"}, "null"),
        ({"type": "array", "items": {"type": "boolean"}}, "[true]"),
    ],
)
def test_other_formats_of_a_user_end_so_too(client: Any, schema: Any, expected: str) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    assert expected == client.chat("Which?", response_format=format_)


def test_a_number_of_a_user_s_format_runs_on(client: Any) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}

    reply = client.complete_chat("Which?", response_format=format_, max_tokens=6)

    assert ("111111", "length") == (reply.text, reply.finish_reason)


CALLS = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": OPEN}}],
    "tool_choice": "f",
}


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"schema": City}, "answer to the schema 'City'"),
        ({"response_format": City}, "answer to the schema 'City'"),
        (CALLS, "tool call"),
    ],
    ids=["schema", "format", "call"],
)
def test_a_room_too_small_for_any_answer_is_told_before_anything_is_sent(
    client: Any, server: FakeServer, fields: Any, what: str
) -> None:
    told = f"max_tokens=2 is too small: the smallest {what} has at least [3-9] tokens"
    with pytest.raises(MlxcelError, match=told):
        client.chat("Which one?", max_tokens=2, **fields)

    assert [] == server.posts


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
@pytest.mark.parametrize("kind", [City, OPEN], ids=["class", "open schema"])
def test_json_that_max_tokens_cuts_is_an_error(client: Any, method: str, kind: Any) -> None:
    with pytest.raises(StructuredOutputTruncated, match="raise max_tokens") as caught:
        getattr(client, method)("Which one?", schema=kind, max_tokens=7)

    assert ('{"name":"x', "length", {"name": "x"}) == (
        caught.value.raw,
        caught.value.finish_reason,
        caught.value.partial,
    )


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
def test_json_that_ends_in_the_middle_is_an_error(
    client: Any, server: FakeServer, method: str
) -> None:
    """As one model of the recordings does, with the finish reason of a whole answer."""
    server.script(Reply.text('{"name": "Os'))

    with pytest.raises(StructuredOutputError) as caught:
        getattr(client, method)("Which one?", schema=City, max_attempts=1)
    assert ('{"name": "Os', "stop") == (caught.value.raw, caught.value.finish_reason)


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream", "generate", "stream"])
def test_json_for_a_user_s_format_that_ends_in_the_middle_is_an_error(
    client: Any, server: FakeServer, method: str
) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "town", "schema": CLOSED}}
    server.script(Reply.text('{"name": "Os'))

    with pytest.raises(StructuredOutputTruncated, match="before its JSON did") as caught:
        getattr(client, method)("Which one?", response_format=format_)
    assert ('{"name": "Os', "stop") == (caught.value.raw, caught.value.finish_reason)


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
def test_json_that_fails_in_the_middle_is_an_error(
    client: Any, server: FakeServer, method: str
) -> None:
    server.script(Reply.text('{"name": "Os', finish="error"))

    with pytest.raises(MlxcelStreamError, match="gave up on the answer") as caught:
        getattr(client, method)("Which one?", schema=City)
    assert '{"name": "Os' == caught.value.partial
    assert 1 == len(server.posts)


def test_json_that_does_not_fit_is_an_error_although_it_is_whole(
    client: Any, server: FakeServer
) -> None:
    server.script(Reply.text('{"name": "Oslo"}', finish="error"))

    with pytest.raises(StructuredOutputError, match="does not fit") as caught:
        client.chat("Which one?", schema=City, max_attempts=1)
    assert "error" == caught.value.finish_reason


UNIQUE_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"names": {"type": "array", "uniqueItems": True}},
            "required": ["names"],
        },
    },
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "town", "schema": CLOSED}}
NO_TOOLS = Reply.json({"error": {"message": "this model does not support tools"}}, status=400)


def failed(text: str) -> Reply:
    return Reply.text(text, finish="error")


def called(arguments: str) -> Reply:
    return failed(f'{{"name": "weather", "arguments": {arguments}}}')


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream", "generate", "stream"])
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"name": 5}', "/name: 5 is not of type 'string'"),
        ("[]", r"/: \[\] is not of type 'object'"),
    ],
)
@ON_TCP
def test_json_for_a_user_s_format_that_fails_and_does_not_fit_is_an_error(
    client: Any, server: FakeServer, method: str, text: str, where: str
) -> None:
    server.script(failed(text))

    with pytest.raises(StructuredOutputError, match=f"not fit the schema 'town' at {where}") as got:
        getattr(client, method)("Which one?", response_format=FORMAT)
    assert (text, "error", 1) == (got.value.raw, got.value.finish_reason, len(server.posts))


@pytest.mark.parametrize(
    ("replies", "fields"),
    [
        ([called('{"name": 5}')], {"tools": [TOOL], "tool_choice": "weather"}),
        ([called("{}")], {"tools": [TOOL, OTHER_TOOL], "tool_choice": "required"}),
        ([called("{}")], {"tools": [TOOL], "response_format": FORMAT}),
        ([failed('{"name": 5}')], {"tools": [TOOL], "response_format": FORMAT}),
        ([NO_TOOLS, called("{}")], {"tools": [TOOL], "tool_choice": "weather"}),
        ([NO_TOOLS, failed('{"answer": {}}')], {"tools": [TOOL], "response_format": FORMAT}),
        ([Reply.text("Hm."), failed("{}")], {"reasoning": True, "response_format": FORMAT}),
        ([failed("{}")], {"extra_body": {"response_format": FORMAT}}),
    ],
    ids=[
        *("forced", "one of two", "call or answer", "answer or call", "prompted and forced"),
        *("prompted", "after thoughts", "in extra_body"),
    ],
)
@ON_TCP
def test_whatever_has_a_schema_is_checked_by_it_when_it_fails(
    client: Any, server: FakeServer, replies: list[Reply], fields: Any
) -> None:
    server.script(*replies)

    with pytest.raises(StructuredOutputError, match="does not fit the schema"):
        client.complete_chat("Which one?", **fields)
    assert len(replies) == len(server.posts)


@ON_TCP
def test_a_call_is_checked_by_what_the_server_could_compile(
    client: Any, server: FakeServer
) -> None:
    """The tool itself checks the rest, and may not mind."""
    server.script(called('{"names": ["x", "x"]}'))

    reply = client.complete_chat("And now?", tools=[UNIQUE_TOOL], tool_choice="required")

    assert 2 == len(server.posts)
    (call,) = reply.tool_calls
    assert {"names": ["x", "x"]} == json.loads(call["function"]["arguments"])


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
def test_an_answer_that_fails_before_its_first_token_is_asked_for_again(
    client: Any, server: FakeServer, method: str
) -> None:
    server.script(Reply.text("", finish="error"), Reply.text(OSLO))

    answer = getattr(client, method)("Which one?", schema=City)

    answer = answer[-1] if method == "chat_stream" else getattr(answer, "parsed", answer)
    assert City(name="Oslo", people=7) == answer
    assert 2 == len(server.posts)


def test_it_is_asked_for_max_retries_times_again(connect: Any, server: FakeServer) -> None:
    client = connect(max_retries=1)
    server.script(*[Reply.text("", finish="error")] * 3)

    with pytest.raises(MlxcelStreamError, match="gave up on the answer") as caught:
        client.chat("Which one?", schema=City)
    assert ("", 2) == (caught.value.partial, len(server.posts))


# --------------------------------------------------------------------------- forced calls


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([TOOL], "required"),
        ([TOOL, OTHER_TOOL], "required"),
        ([OTHER_TOOL, TOOL], {"type": "function", "function": {"name": "weather"}}),
        ([OPEN_TOOL], "required"),
    ],
    ids=["one", "two", "named", "open"],
)
def test_a_forced_call_is_made(client: Any, tools: Any, choice: Any) -> None:
    reply = client.complete_chat("And now?", tools=tools, tool_choice=choice)

    assert ("", "tool_calls") == (reply.text, reply.finish_reason)
    (call,) = reply.tool_calls
    assert "weather" == call["function"]["name"]
    assert {"name": "x"} == json.loads(call["function"]["arguments"])


def test_a_forced_call_that_is_cut_is_a_call_without_whole_arguments(client: Any) -> None:
    reply = client.complete_chat("And now?", tools=[TOOL], tool_choice="required", max_tokens=16)

    assert ("", "length") == (reply.text, reply.finish_reason)
    (call,) = reply.tool_calls
    assert "weather" == call["function"]["name"]
    with pytest.raises(ValueError, match="line 1"):
        json.loads(call["function"]["arguments"])


@pytest.mark.parametrize("text", ['{"name": "weather", "ar', '{"answer": 5}'])
def test_a_forced_call_that_fails_in_the_middle_or_is_none_is_an_error(
    client: Any, server: FakeServer, text: str
) -> None:
    server.script(Reply.text(text, finish="error"))

    with pytest.raises(MlxcelStreamError, match="gave up on the answer") as caught:
        client.complete_chat("And now?", tools=[TOOL], tool_choice="required")
    assert text == caught.value.partial


def test_a_call_that_the_server_leaves_out_is_an_error(client: Any, server: FakeServer) -> None:
    """It is neither text nor a call there, if it is malformed."""
    server.script(Reply.raw_text("<tool_call>", '{"name": "weather", ', "oops", "</tool_call>"))

    with pytest.raises(MlxcelStreamError, match="neither text nor a tool call"):
        client.complete_chat("And now?", tools=[TOOL])


def test_a_call_that_the_server_leaves_out_after_thoughts_is_an_error(
    client: Any, server: FakeServer
) -> None:
    malformed = ["<tool_call>", *'{"name": "weather", oops', "</tool_call>"]
    server.script(Reply.raw_text("<think>", "Rain", "?", "</think>", *malformed))

    with pytest.raises(MlxcelStreamError, match="nor a tool call after the thoughts"):
        client.complete_chat("And now?", tools=[TOOL])


def test_a_call_that_the_server_leaves_out_after_text_is_an_error(
    client: Any, server: FakeServer
) -> None:
    cut = ["<tool_call>", *'{"name": "weather", "arg']
    server.script(*[Reply.raw_text("I", " look", ".", *cut)] * 2)

    for method in ("complete_chat", "chat_stream"):
        with pytest.raises(MlxcelStreamError, match="the text before a tool call") as caught:
            getattr(client, method)("And now?", tools=[TOOL])
        assert "I look." == caught.value.partial


# --------------------------------------------------------------------------- other servers


@pytest.mark.parametrize("generation", ["newest"])
@pytest.mark.parametrize("after", ["", "\n", "\n\n "], ids=repr)
def test_servers_that_end_with_the_json_are_read_to_their_end(
    client: Any, server: FakeServer, after: str
) -> None:
    """White space may follow, as llama.cpp lets it; the connection is used again."""
    server.script(*[Reply.text(OSLO + after)] * 3)

    for _ in range(3):
        reply = client.complete_chat("Which one?", schema=City)

        assert (City(name="Oslo", people=7), "stop") == (reply.parsed, reply.finish_reason)
        assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= reply.usage.keys()
    assert 1 == server.connections


# --------------------------------------------------------------------------- no end


def pieces(*texts: str, field: str = "content") -> Reply:
    events = [{"choices": [{"index": 0, "delta": {field: text}}]} for text in texts]
    return Reply.events(events, done=False, delay=0.0005)


WAYS_TO_GET_LOST = {
    "white space": ['{"name":', *["\n"] * 3000],
    "white space before it": ["\n"] * 3000,
    "one text": ['{"name": "', *["c01_"] * 3000],
}


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
@pytest.mark.parametrize("texts", WAYS_TO_GET_LOST.values(), ids=list(WAYS_TO_GET_LOST))
def test_an_answer_that_repeats_itself_is_left_and_an_error(
    client: Any, server: FakeServer, method: str, texts: list[str]
) -> None:
    server.script(pieces(*texts))

    with pytest.raises(StructuredOutputTruncated, match="wrote only white space") as caught:
        getattr(client, method)("Which one?", schema=City, max_attempts=1)

    assert "repetition" == caught.value.finish_reason
    assert len(caught.value.raw) < 1500
    assert freed(server)


def test_an_answer_may_repeat_itself_if_it_shall_have_no_bounds(
    client: Any, server: FakeServer
) -> None:
    name = "c01_" * 400
    server.script(Reply.text(json.dumps({"name": name, "people": 1})))

    assert City(name=name, people=1) == client.chat("Which one?", schema=City, bounded=False)
    sent = server.posts[-1].json
    assert "maxLength" not in json.dumps(sent["response_format"])
    assert "bounded" not in sent


def test_the_bounds_are_those_of_the_room(client: Any, server: FakeServer) -> None:
    client.chat("Which one?", schema=City, max_tokens=100)
    client.chat("Which one?", schema=City)

    small, large = [post.json["response_format"]["json_schema"]["schema"] for post in server.posts]
    assert small["properties"]["name"]["maxLength"] < 500
    assert "maxLength" not in large["properties"]["name"]
    # What the model reads is the schema as it was given, the same each time.
    assert server.posts[0].json["messages"] == server.posts[1].json["messages"]
    assert "maxLength" not in server.posts[0].json["messages"][-1]["content"]


@pytest.mark.parametrize("method", ["chat", "complete_chat", "chat_stream"])
def test_json_among_the_thoughts_is_left_once_it_is_whole(
    client: Any, server: FakeServer, method: str
) -> None:
    server.script(pieces(OSLO, *["\n"] * 3000, field="reasoning_content"))

    answer = getattr(client, method)("Which one?", schema=City)

    last = answer[-1] if isinstance(answer, list) else getattr(answer, "parsed", answer)
    assert City(name="Oslo", people=7) == last
    assert freed(server)
