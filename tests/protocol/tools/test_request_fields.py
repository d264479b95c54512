"""Tools: what is refused, and how a call is made sure of."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.answers.chat_streams import ChatStream, ToolStream
from mlxcel_integrations.protocol.answers.reply import fold
from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.generation_request import Request
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.protocol.tools.call_streams import CallStream, PromptedStream
from mlxcel_integrations.protocol.tools.request_fields import check_choice, check_tools

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
NEWS = {"type": "function", "function": {"name": "news"}}
ANSWER = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
ANSWER_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER}}


def features(engine: str | None = "mlxcel", tools: bool | None = True) -> ServerFeatures:
    return ServerFeatures(engine, None, (), None, None, tools, frozenset())


def request(server: ServerFeatures | None = None, **sampling: Any) -> Request:
    return chat_request("m", inspect("hi"), sampling, server or features())


def schema(body: dict[str, Any]) -> Any:
    return body["response_format"]["json_schema"]["schema"]


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([len], r"tools\[0\] is builtin_function.* such as \{\"type\": \"function\", "),
        (
            [{"type": "web_search"}],
            r"tools\[0\] has the type 'web_search'.* only call functions .* 'function'\.$",
        ),
        ([WEATHER, {"type": "function"}], r"tools\[1\] has no function with a name"),
        ([{"type": "function", "function": {"name": ""}}], "has no function with a name"),
        (
            [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}],
            "'f': the parameters are not the JSON schema of an object",
        ),
        (
            [{"type": "function", "function": {"name": "f", "parameters": {"default": {1}}}}],
            r"'f', cannot be sent: .*cannot be written as JSON",
        ),
        ([WEATHER] * 129, "129 tools, but a server accepts at most 128"),
        (WEATHER, r"^tools= must be a list of OpenAI tools, not dict\.$"),
    ],
)
def test_tools_that_no_server_takes_are_refused(tools: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        check_tools(tools)


def test_as_many_tools_pass_as_a_server_takes() -> None:
    assert ["weather"] * 128 == check_tools([WEATHER] * 128)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("news", {"type": "function", "function": {"name": "news"}}),
        ({"name": "news"}, {"type": "function", "function": {"name": "news"}}),
        (
            {"type": "function", "function": {"name": "news"}},
            {"type": "function", "function": {"name": "news"}},
        ),
    ],
)
def test_a_choice_takes_openais_form(choice: Any, expected: Any) -> None:
    assert expected == check_choice(choice, ["weather", "news"])


@pytest.mark.parametrize("choice", ["nwes", {"name": "nwes"}, {}])
def test_a_choice_of_no_tool_is_refused(choice: Any) -> None:
    with pytest.raises(MlxcelError, match=r"there is no such tool. The tools are: weather, news"):
        check_choice(choice, ["weather", "news"])


def test_a_forced_call_without_tools_is_refused() -> None:
    with pytest.raises(MlxcelError, match=r"there is no such tool\. The tools are: none"):
        request(tool_choice="required")


@pytest.mark.parametrize(
    "sampling",
    [
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": []},
        {"tool_choice": "auto"},
    ],
    ids=repr,
)
def test_no_tools_are_not_sent(sampling: dict[str, Any]) -> None:
    body = request(**sampling).body

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(MlxcelError, match="Two tools are named 'news'"):
        request(tools=[NEWS, NEWS])


@pytest.mark.parametrize("choice", [None, "auto", "none"])
@pytest.mark.parametrize("engine", ["mlxcel", "llama.cpp", None])
def test_a_free_choice_is_sent_as_it_is(engine: str | None, choice: str | None) -> None:
    made = request(features(engine, tools=None), tools=[WEATHER, NEWS], tool_choice=choice)

    assert (ChatStream if choice == "none" else ToolStream) is type(made.stream())
    assert [WEATHER, NEWS] == made.body["tools"]
    assert choice == made.body.get("tool_choice")
    assert "response_format" not in made.body


@pytest.mark.parametrize(
    ("choice", "tools", "others"),
    [("any", [WEATHER, NEWS], []), ("news", [NEWS], []), ("news", [WEATHER, NEWS], [WEATHER])],
)
def test_llama_cpp_is_asked_for_a_call_by_a_schema(
    choice: str, tools: list[Any], others: list[Any]
) -> None:
    """It lets text stand before a call. All tools stay in the prompt, for its cache."""
    made = request(features("llama.cpp"), tools=tools, tool_choice=choice)

    assert CallStream is made.stream.func  # type: ignore[attr-defined] # a partial
    assert ("none", tools) == (made.body["tool_choice"], made.body["tools"])
    jsonschema.validate({"name": "news", "arguments": {}}, schema(made.body))
    for other in others:
        call = {"name": other["function"]["name"], "arguments": {"city": "Oslo"}}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(call, schema(made.body))


def test_llama_cpp_makes_several_calls_for_those_who_ask_for_them() -> None:
    made = request(
        features("llama.cpp"), tools=[WEATHER, NEWS], tool_choice="any", parallel_tool_calls=True
    )
    calls = [{"name": "news", "arguments": {}}, {"name": "weather", "arguments": {"city": "Oslo"}}]

    assert PromptedStream is made.stream.func  # type: ignore[attr-defined] # a partial
    assert "none" == made.body["tool_choice"]
    jsonschema.validate({"calls": calls}, schema(made.body))
    for wrong in ([], calls * 5, [{"name": "other", "arguments": {}}]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"calls": wrong}, schema(made.body))


@pytest.mark.parametrize("tools", [True, False], ids=["template", "no template"])
@pytest.mark.parametrize("engine", ["mlxcel", "llama.cpp"])
def test_a_named_call_is_one_call_even_if_several_are_allowed(engine: str, tools: bool) -> None:
    made = request(
        features(engine, tools), tools=[WEATHER, NEWS], tool_choice="news", parallel_tool_calls=True
    )

    jsonschema.validate({"name": "news", "arguments": {}}, schema(made.body))
    assert "calls" not in schema(made.body)["properties"]


@pytest.mark.parametrize("engine", ["mlxcel", None])
def test_a_forced_call_is_asked_for_by_a_schema(engine: str | None) -> None:
    made = request(features(engine), tools=[WEATHER, NEWS], tool_choice="weather")

    assert [WEATHER, NEWS] == made.body["tools"]
    assert "tool_choice" not in made.body
    assert {"enable_thinking": False} == made.body["chat_template_kwargs"]
    assert "json_schema" == made.body["response_format"]["type"]
    # OpenAI's form has a name for each schema.
    assert {"name", "schema"} == made.body["response_format"]["json_schema"].keys()
    jsonschema.validate({"name": "weather", "arguments": {"city": "Oslo"}}, schema(made.body))
    for wrong in (
        {"name": "news", "arguments": {}},
        {"name": "weather", "arguments": {}},
        {"name": "weather", "arguments": {"city": "Oslo", "more": 1}},
        {"name": "weather", "arguments": {"city": "Oslo"}, "more": 1},
        {"name": "weather"},
        ["weather"],
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema(made.body))


def test_a_call_of_any_tool_may_be_of_each() -> None:
    made = request(tools=[WEATHER, NEWS], tool_choice="any")

    jsonschema.validate({"name": "weather", "arguments": {"city": "Oslo"}}, schema(made.body))
    jsonschema.validate({"name": "news", "arguments": {}}, schema(made.body))
    for arguments in ({"city": "Oslo"}, ["Oslo"]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"name": "news", "arguments": arguments}, schema(made.body))


@pytest.mark.parametrize("engine", ["mlxcel", "llama.cpp"])
def test_a_schema_for_the_answer_leaves_room_for_calls(engine: str) -> None:
    """All servers would else let the schema win, and the model could call no tool."""
    made = request(features(engine), tools=[WEATHER], response_format=ANSWER_FORMAT)

    jsonschema.validate({"name": "weather", "arguments": {"city": "Oslo"}}, schema(made.body))
    jsonschema.validate({"n": 1}, schema(made.body))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"n": "one"}, schema(made.body))


def test_a_schema_for_the_answer_stays_as_it_is_where_no_tool_is_to_be_called() -> None:
    made = request(tools=[WEATHER], tool_choice="none", response_format=ANSWER_FORMAT)

    assert ("none", ANSWER_FORMAT) == (made.body["tool_choice"], made.body["response_format"])


@pytest.mark.parametrize("engine", ["mlxcel", "llama.cpp"])
def test_a_forced_call_beats_a_schema_for_the_answer(engine: str) -> None:
    made = request(features(engine), tools=[NEWS], tool_choice="any", response_format=ANSWER_FORMAT)

    assert "answer" not in json.dumps(made.body)


def test_references_in_a_tool_still_lead_somewhere() -> None:
    tree = {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/Tree"}},
        "required": ["tree"],
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}},
                "required": ["next"],
            }
        },
    }
    grow = {"type": "function", "function": {"name": "grow", "parameters": tree}}
    made = request(tools=[grow, WEATHER], tool_choice="any", chat_template_kwargs={"x": 1})

    arguments = {"tree": {"next": {"next": None}}}
    jsonschema.validate({"name": "grow", "arguments": arguments}, schema(made.body))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "grow", "arguments": {"tree": {}}}, schema(made.body))
    assert 1 == made.body["chat_template_kwargs"]["x"]


@pytest.mark.parametrize("tools", [True, False], ids=["forced", "prompted"])
def test_too_many_references_are_an_error_for_mlxcel_alone(tools: bool) -> None:
    point = {"$ref": "#/$defs/Point"}
    parameters = {"properties": {"a": point, "b": point}, "$defs": {"Point": CITY}}
    functions = [{"name": f"tool{n}", "parameters": parameters} for n in range(40)]
    fields = {
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": "required",
    }

    with pytest.raises(MlxcelError, match="references"):
        chat_request("m", inspect("hi"), fields, features(tools=tools))
    assert chat_request("m", inspect("hi"), fields, features("llama.cpp", tools))


def test_references_in_the_schema_of_the_answer_still_lead_somewhere() -> None:
    answer = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "list", "schema": answer}}
    made = request(tools=[WEATHER], response_format=response_format)

    jsonschema.validate({"next": {"next": None}}, schema(made.body))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"next": {"next": 1}}, schema(made.body))


def test_what_the_caller_passed_stays_as_it_was() -> None:
    given = {"tools": [WEATHER, NEWS], "tool_choice": "any"}
    before = json.dumps(given)

    chat_request("m", inspect("hi"), given, features())

    assert before == json.dumps(given)


@pytest.mark.parametrize("choice", [None, "any"])
def test_only_where_a_call_was_forced_an_answer_is_read_as_one(choice: str | None) -> None:
    stream = request(tools=[WEATHER], tool_choice=choice).stream()
    text = json.dumps({"name": "weather", "arguments": {}})
    event = {"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
    reply = fold(stream.feed(b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"))

    assert ("" if choice else text) == reply.text
    assert (1 if choice else 0) == len(reply.tool_calls or ())


def test_parameters_that_describe_themselves_leave_no_room_for_more() -> None:
    """Those of a class with a docstring have a title, a description and definitions."""
    shape = {**CITY, "title": "Weather", "description": "Of a city.", "$defs": {}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": shape}}
    made = request(tools=[tool], tool_choice="any")

    call = {"name": "weather", "arguments": {"city": "Oslo", "more": 1}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(call, schema(made.body))


def test_parameters_that_say_more_than_properties_are_left_as_they_are() -> None:
    shape = {**CITY, "minProperties": 1}
    tool = {"type": "function", "function": {"name": "weather", "parameters": shape}}
    made = request(tools=[tool], tool_choice="any")

    call = {"name": "weather", "arguments": {"city": "Oslo", "more": 1}}
    jsonschema.validate(call, schema(made.body))


@pytest.mark.parametrize("depth", [40, 300, 450])
def test_parameters_nested_too_deeply_are_refused(depth: int) -> None:
    parameters: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        parameters = {"type": "object", "properties": {"a": parameters}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}

    with pytest.raises(MlxcelError, match="nested deeper than"):
        request(tools=[tool], tool_choice="required")
