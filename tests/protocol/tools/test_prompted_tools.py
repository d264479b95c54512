"""Tools for chat templates without any: the request, the messages, and refusals that teach."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import ChatReply, fold
from mlxcel_integrations.protocol.answers.stream import DeltaStream
from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.failures import Failure, from_status
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.generation_request import Request
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.protocol.schemas.schema_use import SchemaUse
from mlxcel_integrations.protocol.strict_roles import refuses_tools
from mlxcel_integrations.protocol.tools.call_streams import PromptedStream

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Name of a city."}},
    "required": ["city"],
}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Look out.", "parameters": CITY, "strict": True},
}
NEWS = {"type": "function", "function": {"name": "news"}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
SCHEMA_FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}

PARIS = {"name": "weather", "arguments": {"city": "Paris"}}
NOTHING = {"name": "news", "arguments": {}}
TEXT = {"answer": "Hi."}


def request(messages: Any = "hi", **sampling: Any) -> Request:
    known = ServerFeatures("llama.cpp", "b1", (), None, None, False, frozenset())
    return chat_request("m", inspect(messages), sampling, known)


def schema(made: Request) -> Any:
    return made.body["response_format"]["json_schema"]["schema"]


def fits(made: Request, *values: Any) -> list[bool]:
    validator = jsonschema.Draft202012Validator(schema(made))
    return [validator.is_valid(value) for value in values]


# --------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("sampling", "allowed"),
    [
        ({}, [True, True, True, False, False]),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, [True, True, True, False, False]),
        ({"tool_choice": "required"}, [True, True, False, False, False]),
        ({"tool_choice": "any"}, [True, True, False, False, False]),
        ({"tool_choice": "weather"}, [True, False, False, False, False]),
        ({"parallel_tool_calls": True}, [False, False, True, True, False]),
        (
            {"parallel_tool_calls": True, "tool_choice": "required"},
            [False, False, False, True, False],
        ),
        ({"response_format": SCHEMA_FORMAT}, [True, True, False, False, True]),
        (
            {"response_format": SCHEMA_FORMAT, "tool_choice": "required"},
            [True, True, False, False, False],
        ),
        ({"response_format": {"type": "text"}}, [True, True, True, False, False]),
    ],
    ids=repr,
)
def test_the_answer_is_what_the_choice_allows(
    sampling: dict[str, Any], allowed: list[bool]
) -> None:
    made = request(tools=[WEATHER, NEWS], **sampling)

    both = {"calls": [PARIS, NOTHING]}
    assert allowed == fits(made, PARIS, NOTHING, TEXT, both, {"answer": {"n": 1}})
    assert not any(fits(made, {"name": "weather", "arguments": {}}, {"calls": []}, {"n": 1}, "Hi."))
    assert not {"tools", "tool_choice", "parallel_tool_calls", "stop"} & made.body.keys()
    assert made.relaxable


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        ({"tools": [WEATHER], "tool_choice": "none"}, set()),
        ({"tools": [WEATHER], "tool_choice": "none", "stop": ["x"]}, {"stop"}),
        (
            {
                "tools": [WEATHER],
                "tool_choice": "none",
                "response_format": SCHEMA_FORMAT,
                "parallel_tool_calls": True,
            },
            {"response_format"},
        ),
        ({"tools": []}, set()),
        ({"tools": None, "tool_choice": "auto", "parallel_tool_calls": False}, set()),
        ({}, set()),
    ],
    ids=repr,
)
def test_without_tools_to_call_the_request_is_an_ordinary_one(
    sampling: dict[str, Any], kept: set[str]
) -> None:
    made = request(**sampling)

    assert {"model", "messages", "stream", "stream_options", *kept} == made.body.keys()
    assert inspect("hi").messages == made.body["messages"]
    assert not isinstance(made.stream(), PromptedStream)


@pytest.mark.parametrize("tools", [[NEWS], []], ids=["with tools", "without"])
@pytest.mark.parametrize("relaxable", [True, False])
def test_a_request_is_sent_as_any_other(tools: list[Any], relaxable: bool) -> None:
    made = request(tools=tools, session="s", stop="End", top_k=3, schema_use=SchemaUse(relaxable))

    assert ("/v1/chat/completions", "s", "m") == (made.route, made.session, made.body["model"])
    assert (3, True) == (made.body["top_k"], made.body["stream"])
    assert (None if tools else ["End"]) == made.body.get("stop")
    assert (bool(tools) or relaxable) is made.relaxable


@pytest.mark.parametrize("bounded", [True, False])
def test_an_answer_that_repeats_itself_is_left_unless_it_is_unbounded(bounded: bool) -> None:
    stream = request(tools=[NEWS], bounded=bounded).stream()
    texts = ['{"answer": "', *["la la "] * 2000]
    events = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    for event in events:
        if not stream.done:
            stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n")

    assert bounded is stream.left


def test_the_tools_stand_behind_the_last_message_and_nothing_before_it_changes() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And now?"},
    ]

    made = request(messages, tools=[WEATHER, NEWS]).body["messages"]

    assert messages[:3] == made[:3]
    assert made[3]["content"] == (
        "And now?\n\nTools:\n"
        '{"name":"weather","description":"Look out.","parameters":'
        '{"type":"object","properties":{"city":{"type":"string","description":"Name of a city."}},'
        '"required":["city"]}}\n'
        '{"name":"news"}\n\n'
        "Reply with JSON. To call a tool:\n"
        '{"name": <name of the tool>, "arguments": <object that fits its parameters>}\n'
        "To answer without another call:\n"
        '{"answer": <text>}'
    )


@pytest.mark.parametrize(
    ("sampling", "shown", "hidden"),
    [
        ({}, ['{"answer": <text>}', "weather", "news"], ["calls"]),
        ({"tool_choice": "required"}, ["weather", "news"], ["answer", "calls"]),
        ({"tool_choice": "news"}, ["news"], ["weather", "answer"]),
        ({"parallel_tool_calls": True}, ['{"calls": [', "one or more tools"], []),
        ({"response_format": SCHEMA_FORMAT}, ["schema of the answer"], ["<text>"]),
    ],
    ids=repr,
)
def test_the_model_reads_what_it_may_do(
    sampling: dict[str, Any], shown: list[str], hidden: list[str]
) -> None:
    text = request(tools=[WEATHER, NEWS], **sampling).body["messages"][-1]["content"]

    assert shown == [each for each in shown if each in text]
    assert [] == [each for each in hidden if each in text]


def test_what_only_the_model_reads_is_not_in_the_schema() -> None:
    """A hundred tools with long descriptions are within the limits of servers."""
    long = {
        "type": "object",
        "title": "T",
        "properties": {
            "description": {"type": "string", "description": "x" * 2000, "examples": ["y"] * 50},
            "title": {"type": "integer", "default": 5},
            "any": True,
        },
        "required": ["description"],
    }
    tools = [
        {"type": "function", "function": {"name": f"t{n}", "description": "d", "parameters": long}}
        for n in range(100)
    ]

    made = request(tools=tools)

    assert len(json.dumps(schema(made))) < 64 * 1024
    call = {"name": "t99", "arguments": {"description": "a", "title": 1, "any": [2]}}
    wrong = {"name": "t99", "arguments": {"description": "a", "other": 1}}
    assert [True, False] == fits(made, call, wrong)
    assert "x" * 2000 in made.body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"tools": [WEATHER], "tool_choice": "wether"}, "'wether': there is no such tool"),
        ({"tools": [], "tool_choice": "required"}, "there is no such tool.* none"),
        ({"tools": [NEWS, NEWS]}, "Two tools are named 'news'"),
        ({"tools": [{"type": "web_search"}]}, "only call functions"),
        ({"tools": [NEWS] * 129}, "129 tools"),
    ],
)
def test_mistakes_are_told_as_with_a_template_that_knows_tools(
    sampling: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        request(**sampling)


# --------------------------------------------------------------------------- conversations


def called(*calls: tuple[str, str, str], content: Any = "") -> dict[str, Any]:
    made = [
        {"id": given, "type": "function", "function": {"name": name, "arguments": arguments}}
        for given, name, arguments in calls
    ]
    return {"role": "assistant", "content": content, "tool_calls": made}


def result(content: Any, call: str = "a") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content}


USER = {"role": "user", "content": "And?"}
CALLED = called(("a", "weather", '{"city": "Paris"}'))
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            [USER, CALLED, result("Sunny.")],
            [
                ("user", "And?"),
                ("assistant", '{"name":"weather","arguments":{"city":"Paris"}}'),
                ("user", "Result of weather:\nSunny."),
            ],
        ),
        (
            [
                USER,
                called(("a", "weather", "{}"), ("b", "news", ""), content="Let me see."),
                result(None, "b"),
                result("Rain.", "a"),
                {"role": "assistant", "content": "Rain."},
                USER,
            ],
            [
                ("user", "And?"),
                (
                    "assistant",
                    'Let me see.\n\n{"calls":[{"name":"weather","arguments":{}},'
                    '{"name":"news","arguments":{}}]}',
                ),
                ("user", "Result of news:\n"),
                ("user", "Result of weather:\nRain."),
                ("assistant", "Rain."),
                ("user", "And?"),
            ],
        ),
        (
            [CALLED, result([{"type": "text", "text": "Rain."}, IMAGE])],
            [
                ("assistant", '{"name":"weather","arguments":{"city":"Paris"}}'),
                ("user", [{"type": "text", "text": "Result of weather:\nRain."}, IMAGE]),
            ],
        ),
        (
            [CALLED, result([IMAGE])],
            [
                ("assistant", '{"name":"weather","arguments":{"city":"Paris"}}'),
                ("user", [{"type": "text", "text": "Result of weather:"}, IMAGE]),
            ],
        ),
        (
            [called(("a", "news", "not JSON")), result("No.")],
            [
                ("assistant", '{"name":"news","arguments":"not JSON"}'),
                ("user", "Result of news:\nNo."),
            ],
        ),
        # Without its call, it can be counted, but not sent.
        ([USER, result("x", "b")], [("user", "And?"), ("user", "Result of a tool:\nx")]),
    ],
)
@pytest.mark.parametrize("tools", [None, [NEWS]], ids=["no tools", "tools"])
def test_calls_and_results_become_plain_messages(
    messages: list[Any], expected: list[tuple[str, Any]], tools: Any
) -> None:
    conversation = inspect(messages)
    known = ServerFeatures("mlxcel", "b1", (), None, None, False, frozenset({"vision"}))
    made = chat_request("m", conversation, {"tools": tools}, known).body["messages"]

    assert len(messages) == len(made)
    last = made[-1]["content"]
    if tools:
        texts = [last] if isinstance(last, str) else [part.get("text", "") for part in last]
        assert texts[-1].endswith('{"answer": <text>}')
        made, expected = made[:-1], expected[:-1]
    assert expected == [(message["role"], message["content"]) for message in made]
    assert not any({"tool_calls", "tool_call_id", "name"} & message.keys() for message in made)


def test_thoughts_stay_with_the_message_that_calls() -> None:
    (made, _) = request([{**CALLED, "reasoning_content": "Hm."}, result("x")]).body["messages"]

    assert "Hm." == made["reasoning_content"]


# --------------------------------------------------------------------------- answers


def answered(made: Request, *texts: str, finish: str | None = "stop", **more: Any) -> ChatReply:
    stream = made.stream()
    deltas = []
    for text in texts:
        event = {"choices": [{"delta": {"content": text}}], "model": "m", "id": "x"}
        deltas += stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
        if stream.done:
            break
    else:
        end: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": finish}], "model": "m"}
        deltas += stream.feed(b"data: " + json.dumps(end | more).encode() + b"\n\n")
    stream.close()
    return fold(deltas)


@pytest.mark.parametrize(
    ("texts", "finish", "said", "calls", "ended"),
    [
        (['{"answer": "I', "t is", '."}'], "stop", "It is.", 0, "stop"),
        (['{"answer": "It is'], "length", "It is", 0, "length"),
        (['{"name": "news", ', '"arguments": {}}'], "stop", "", 1, "tool_calls"),
        # mlxcel 0.4.2 fails after JSON that is whole, or goes on with white space.
        (['{"name": "news", ', '"arguments": {}}'], "error", "", 1, "tool_calls"),
        (['{"answer": "It."}'], "error", "It.", 0, "stop"),
        (['{"answer": "It."}', *"   "], "length", "It.", 0, "stop"),
        (['{"name": "news", "argum'], "length", "", 0, "length"),
        (['{"name": "news", "arguments": {"x'], "length", "", 1, "length"),
        (["It is."], "stop", "It is.", 0, "stop"),
    ],
)
def test_the_answer_is_a_text_or_ordinary_calls(
    texts: list[str], finish: str, said: str, calls: int, ended: str
) -> None:
    reply = answered(request(tools=[WEATHER, NEWS]), *texts, finish=finish)

    assert (said, calls, ended) == (reply.text, len(reply.tool_calls or ()), reply.finish_reason)
    assert "m" == reply.model


def test_a_stop_text_ends_the_text_of_the_answer() -> None:
    made = request(tools=[NEWS], stop="\nEnd")

    reply = answered(made, '{"answer": "One.\\n', 'End", two', '."}', finish="stop")
    assert ("One.", "stop", "m", "x") == (
        reply.text,
        reply.finish_reason,
        reply.model,
        reply.id,
    )
    call = answered(made, json.dumps({"name": "news", "arguments": {}}))
    assert 1 == len(call.tool_calls or ())
    assert "One.\nEn" == answered(made, '{"answer": "One.\\nEn"}').text


def told(stream: DeltaStream, text: str, finish: str | None = None) -> list[Delta]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return stream.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")


def test_an_answer_in_one_event_is_whole() -> None:
    stream = PromptedStream(frozenset({"news"}))

    (delta,) = told(stream, json.dumps(NOTHING), finish="stop")
    assert ("tool_calls", 1) == (delta.finish_reason, len(delta.tool_calls or ()))
    stream.close()


def test_syntax_alone_makes_no_delta() -> None:
    assert [] == told(PromptedStream(frozenset({"news"})), '{"na')


def test_a_second_finish_reason_adds_nothing() -> None:
    stream = PromptedStream(frozenset({"news"}), required=True)

    deltas = told(stream, '{"name": "news", "arguments": {"a', "length") + told(
        stream, "", "length"
    )
    assert [1, 0] == [len(delta.tool_calls or ()) for delta in deltas]


def test_a_stop_text_in_the_last_event_leaves_nothing() -> None:
    stream = PromptedStream(frozenset({"news"}), ["End"])

    (delta,) = told(stream, '{"answer": "One.End', "length")
    assert ("One.", "length", False) == (delta.text, delta.finish_reason, stream.left)


@pytest.mark.parametrize("given", [{"stop": ["End"]}, {"extra_body": {"stop": ["End"]}}])
def test_stop_texts_are_not_sent_however_they_are_given(given: dict[str, Any]) -> None:
    made = request(tools=[NEWS], **given)

    assert "stop" not in made.body
    assert "One." == answered(made, '{"answer": "One.End"}').text


def test_an_answer_that_repeats_its_calls_is_left() -> None:
    made = request(tools=[NEWS], parallel_tool_calls=True)
    call = '{"name": "news", "arguments": {}}'
    stream = made.stream()

    deltas = []
    for text in ('{"calls": [', f"{call}, ", f"{call}, ", call):
        event = {"choices": [{"delta": {"content": text}}]}
        deltas += stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n")

    assert stream.left
    reply = fold(deltas)
    assert (1, "tool_calls") == (len(reply.tool_calls or ()), reply.finish_reason)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools", True),
        (500, "tools param requires --jinja flag", True),
        (400, "This model's chat template doesn't support tool use.", True),
        (501, "Function calling is not supported by this server", True),
        (501, "functions are not supported by this server", True),
        (400, "Tools are unsupported", True),
        (
            400,
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser',
            True,
        ),
        (400, "Too many tools: 200. Maximum allowed is 128.", False),
        (400, "tool_choice 'required' needs tools", False),
        (400, "tool_choice names a tool that is not declared", False),
        (422, "tools: missing field `type`, `function` or its `name`", False),
        (400, "the image format is not supported", False),
        (503, "does not support tools", False),
        (401, "does not support tools", False),
    ],
)
def test_a_refusal_of_tools_is_told_from_others(status: int, message: str, expected: bool) -> None:
    body = json.dumps({"error": {"message": message}}).encode()
    failure: Failure = from_status(status, {}, body, "http://x")

    assert expected == refuses_tools(failure)
