"""Tools on models whose chat template knows none, on every server and in every way to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from mlxcel_integrations import MlxcelError, MlxcelStreamError
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer, Reply

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
NEWS = {"type": "function", "function": {"name": "news"}}
PARIS = {"name": "weather", "arguments": {"city": "Paris"}}
NOTHING = {"name": "news", "arguments": {}}
HISTORY = [
    {"role": "user", "content": "What is the weather?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": "Sunny."},
]
KNOWS_NONE = {"build_info": "mlxcel-1", "chat_template_caps": {"supports_tools": False}}


@pytest.fixture(params=["newest", "v0.4.2"])
def generation(request: pytest.FixtureRequest) -> Generation:
    return request.param  # type: ignore[no-any-return]  # a fixture's parameter has any type


@pytest.fixture
def place() -> str:
    return "tcp"


@pytest.fixture
def server(generation: Generation, short_path: Path) -> Iterator[FakeServer]:
    with FakeServer(generation) as fake:
        fake.tool_call_parser = None
        if generation == "newest":
            fake.route("/props", Reply.json(KNOWS_NONE))
        yield fake


def calls(reply: Any) -> list[dict[str, Any]]:
    functions = [call["function"] for call in reply.tool_calls or ()]
    assert len(functions) == len({call["id"] for call in reply.tool_calls or ()})
    return [
        {"name": function["name"], "arguments": json.loads(function["arguments"])}
        for function in functions
    ]


SCENARIOS: dict[str, tuple[Any, dict[str, Any], str, list[dict[str, Any]]]] = {
    "a call": (PARIS, {}, "", [PARIS]),
    "a text": ({"answer": "Hi."}, {}, "Hi.", []),
    "auto": ({"answer": "Hi."}, {"tool_choice": "auto"}, "Hi.", []),
    "required": (NOTHING, {"tool_choice": "required"}, "", [NOTHING]),
    "named": (NOTHING, {"tool_choice": "news"}, "", [NOTHING]),
    "several": ({"calls": [PARIS, NOTHING]}, {"parallel_tool_calls": True}, "", [PARIS, NOTHING]),
    "one of several": ({"calls": [PARIS, PARIS]}, {"parallel_tool_calls": True}, "", [PARIS]),
    "an object": (
        {"answer": {"n": 1}},
        {"response_format": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        '{"n": 1}',
        [],
    ),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_answers_are_texts_or_ordinary_calls(
    client: Any, server: FakeServer, scenario: str
) -> None:
    answer, options, text, expected = SCENARIOS[scenario]
    server.script(*[Reply.text(json.dumps(answer))] * 2)

    reply = client.complete_chat("hi", tools=[WEATHER, NEWS], **options)

    assert (text, expected) == (reply.text, calls(reply))
    assert ("tool_calls" if expected else "stop") == reply.finish_reason
    assert "response_format" in server.posts[-1].json
    assert "tools" not in server.posts[-1].json
    streamed = client.chat_stream("hi", tools=[WEATHER, NEWS], **options)
    assert text == "".join(streamed)
    assert len(streamed) > 1 or not text.count(" ")


def test_no_call_is_an_ordinary_answer(client: Any, server: FakeServer) -> None:
    assert "echo: hi" == client.chat("hi", tools=[NEWS], tool_choice="none")
    assert {"messages", "model", "stream", "stream_options"} == server.posts[-1].json.keys()


def test_stop_texts_of_an_iterator_end_the_text_of_an_answer(
    client: Any, server: FakeServer
) -> None:
    server.script(Reply.text('{"answer": "one two three"}'))

    assert "one " == client.chat("hi", tools=[WEATHER], stop=iter(["two"]))


@pytest.mark.parametrize("tools", [None, [WEATHER]], ids=["no tools", "tools"])
def test_calls_and_results_of_a_conversation_are_read_as_messages(
    client: Any, server: FakeServer, tools: Any
) -> None:
    server.script(Reply.text('{"answer": "Good."}' if tools else "Good."))

    assert "Good." == client.chat(HISTORY, tools=tools)

    sent = server.posts[-1].json["messages"]
    assert ["user", "assistant", "user"] == [message["role"] for message in sent]
    assert json.dumps(PARIS, separators=(",", ":")) == sent[1]["content"]
    assert sent[2]["content"].startswith("Result of weather:\nSunny.")


def test_tokens_are_counted_as_they_are_sent(client: Any, server: FakeServer) -> None:
    counted = client.count_message_tokens(HISTORY, tools=[WEATHER, NEWS])
    alone = client.count_message_tokens(HISTORY)

    server.script(Reply.text('{"answer": "Good."}'))
    reply = client.complete_chat(HISTORY, tools=[WEATHER, NEWS])

    # The older server fails after JSON that is whole, and tells no usage.
    assert server.generation == "v0.4.2" or counted == reply.usage["prompt_tokens"]
    assert counted > alone + 20


def test_a_result_stays_with_its_call_when_old_messages_are_left_out(
    connect: Any, server: FakeServer
) -> None:
    if server.generation == "v0.4.2":
        pytest.skip("its window is unknown")
    server.context_size = 512
    long = [{"role": "user", "content": "word " * 400}, {"role": "assistant", "content": "Yes."}]

    kept = connect().fit_messages([*long, *HISTORY], tools=[WEATHER], reserve=100)

    assert HISTORY == kept


def test_a_model_that_thinks_calls_a_tool_after_its_thoughts(
    client: Any, server: FakeServer
) -> None:
    answer = Reply.text(json.dumps(PARIS))
    server.script(Reply.text("", reasoning="Paris."), answer)

    reply = client.complete_chat("hi", tools=[WEATHER], reasoning_effort="low")

    assert ("Paris.", [PARIS]) == (reply.reasoning, calls(reply))
    assert "response_format" not in server.posts[0].json
    assert "response_format" in server.posts[1].json


def test_a_call_that_is_cut_is_no_success(client: Any, server: FakeServer) -> None:
    server.script(
        Reply.text('{"name": "weather", "arguments": {"city": "Pa', finish="length"),
        Reply.text('{"name": "wea', finish="length"),
    )

    cut = client.complete_chat("hi", tools=[WEATHER])
    assert ("length", '{"city": "Pa') == (
        cut.finish_reason,
        cut.tool_calls[0]["function"]["arguments"],
    )
    early = client.complete_chat("hi", tools=[WEATHER])
    assert ("length", "", None) == (early.finish_reason, early.text, early.tool_calls)


def test_an_answer_that_breaks_off_keeps_its_text(client: Any, server: FakeServer) -> None:
    server.script(
        Reply.events(['{"choices":[{"delta":{"content":"{\\"answer\\": \\"It "}}]}'], done=False)
    )

    with pytest.raises(MlxcelStreamError) as caught:
        client.chat("hi", tools=[WEATHER])
    assert "It " == caught.value.partial


# --------------------------------------------------------------------------- bad input


def function(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (function("answer", CITY), {"city": "x"}),
        (function("calls", {}), {}),
        (
            function("name", {"type": "object", "properties": {"name": {"const": "name"}}}),
            {"name": "name"},
        ),
        (function('f("x", \\) {é} \u2028 ' * 20, CITY), {"city": "x"}),
        (
            function("f", {"type": "object", "properties": {"a\nb": {"type": "null"}}}),
            {"a\nb": None},
        ),
        (
            function("f", {"type": "object", "properties": {"$ref": {"type": "null"}}}),
            {"$ref": None},
        ),
    ],
    ids=["answer", "calls", "name", "odd name", "odd property", "property $ref"],
)
def test_odd_tools_are_called(client: Any, server: FakeServer, tool: Any, arguments: Any) -> None:
    """The scripted server answers with the smallest value of the schema."""
    reply = client.complete_chat("hi", tools=[tool], tool_choice="required")

    assert [{"name": tool["function"]["name"], "arguments": arguments}] == calls(reply)


def test_a_hundred_tools_are_called(client: Any, server: FakeServer) -> None:
    described = {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "x" * 800}},
        "required": ["city"],
    }
    tools = [function(f"tool{n}", described) for n in range(100)]

    assert [{"name": "tool0", "arguments": {"city": "x"}}] == calls(
        client.complete_chat("hi", tools=tools, tool_choice="required")
    )
    reply = client.complete_chat("hi", tools=tools, tool_choice="tool99")
    assert [{"name": "tool99", "arguments": {"city": "x"}}] == calls(reply)


def test_parameters_that_a_server_cannot_compile_are_relaxed_once(
    client: Any, server: FakeServer
) -> None:
    if server.generation == "newest":
        pytest.skip("the scripted one compiles everything")
    odd = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}

    for _ in range(2):
        reply = client.complete_chat("hi", tools=[function("f", odd)], tool_choice="required")
        assert ["f"] == [call["name"] for call in calls(reply)]

    sent = [json.dumps(post.json["response_format"]) for post in server.posts]
    assert [True, False, False] == ["uniqueItems" in each for each in sent]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": [WEATHER], "tool_choice": "wether"}, "there is no such tool.* weather"),
        ({"tools": [], "tool_choice": "required"}, "there is no such tool"),
        ({"tools": [NEWS, NEWS]}, "Two tools are named 'news'"),
        ({"tools": [function("f", {"type": "array"})]}, "not the JSON schema of an object"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(
    client: Any, server: FakeServer, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        client.chat("hi", **options)
    assert [] == server.posts


# --------------------------------------------------------------------------- refusals


REFUSAL = Reply.error(500, "tools param requires --jinja flag")


@pytest.mark.parametrize("generation", ["newest"], indirect=True)
def test_a_refusal_teaches_and_is_remembered(client: Any, server: FakeServer) -> None:
    server.unroute("/props")
    assert client.features.tools
    server.script(REFUSAL, *[Reply.text(json.dumps(PARIS))] * 2)

    for _ in range(2):
        assert [PARIS] == calls(client.complete_chat("hi", tools=[WEATHER]))

    assert [True, False, False] == ["tools" in post.json for post in server.posts]
    assert client.features.tools is False


@pytest.mark.parametrize("generation", ["newest"], indirect=True)
def test_another_refusal_is_an_error_and_teaches_nothing(client: Any, server: FakeServer) -> None:
    server.unroute("/props")
    server.script(Reply.error(400, "Too many tools: 200. Maximum allowed is 128."))

    with pytest.raises(openai.BadRequestError, match="Too many tools"):
        client.chat("hi", tools=[WEATHER])
    assert 1 == len(server.posts)
    assert client.features.tools


@pytest.mark.parametrize("generation", ["newest"], indirect=True)
def test_a_server_that_refuses_the_schema_too_says_so(client: Any, server: FakeServer) -> None:
    server.unroute("/props")
    server.script(REFUSAL, Reply.error(400, "no grammars here"))

    with pytest.raises(openai.BadRequestError, match="no grammars here"):
        client.chat("hi", tools=[WEATHER])


@pytest.mark.parametrize("generation", ["newest"], indirect=True)
def test_a_format_of_the_user_stays_whole_where_the_tools_are_refused(
    client: Any, server: FakeServer
) -> None:
    """Nobody checks the answer to it, so it is not relaxed as a schema with a check was before."""
    server.unroute("/props")
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?i)a"}}}
    answer = Reply.text('{"a": "A"}')
    server.script(Reply.error(400, "schema compilation failed"), answer, REFUSAL, answer)

    client.chat("Which one?", schema=schema)
    client.chat("Which one?", response_format=schema, tools=[WEATHER], tool_choice="none")

    formats = [str(post.json["response_format"]) for post in server.posts]
    assert [True, False, True, True] == ["(?i)a" in one for one in formats]
