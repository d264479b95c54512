"""Structured output of ``ChatMlxcel``, on both server generations."""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import json
import operator
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import LLMToolSelectorMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, field_validator

from mlxcel_integrations import MlxcelError, StructuredOutputError, StructuredOutputTruncated
from mlxcel_integrations.langchain import ChatMlxcel
from tests.client.test_freeing import freed
from tests.fakes.model import capable
from tests.fakes.server import FakeServer, Reply


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        yield running


class City(BaseModel):
    """A city."""

    name: str
    people: int = 0


@dataclass
class Point:
    x: int


class Row(TypedDict):
    name: str
    people: int


class Size(enum.Enum):
    SMALL = "small"


CITY = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
}
FUNCTION = {"name": "city", "description": "A city.", "parameters": CITY}
NAMED = {"name": "city", "schema": CITY, "strict": True}
OSLO = '{"name": "Oslo by the fjord", "people": 7}'


async def streamed(runnable: Any) -> list[Any]:
    return [value async for value in runnable.astream("x")]


def ways(runnable: Any) -> list[Any]:
    """Ask in all four ways; of a stream, the last value."""
    last = [list(runnable.stream("x"))[-1], asyncio.run(streamed(runnable))[-1]]
    return [runnable.invoke("x"), asyncio.run(runnable.ainvoke("x")), *last]


def streams(runnable: Any) -> list[list[Any]]:
    return [list(runnable.stream("x")), asyncio.run(streamed(runnable))]


# --------------------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (City, City(name="x", people=1)),
        (Point, Point(1)),
        (Row, {"name": "x", "people": 1}),
        (Size, Size.SMALL),
        (Literal["a", "b"], "a"),
        (bool, True),
        (int, 1),
        (list[City], [City(name="x", people=1)]),
        (City | Point, City(name="x", people=1)),
        (City | None, City(name="x", people=1)),
        (CITY, {"name": "x", "people": 1}),
        (FUNCTION, {"name": "x", "people": 1}),
        ({"type": "function", "function": FUNCTION}, {"name": "x", "people": 1}),
        (NAMED, {"name": "x", "people": 1}),
        ({"type": "json_schema", "json_schema": NAMED}, {"name": "x", "people": 1}),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_every_kind_of_schema_gives_its_kind_of_answer(
    llm: ChatMlxcel, kind: Any, expected: Any
) -> None:
    assert [expected] * 4 == ways(llm.with_structured_output(kind))


def test_all_methods_ask_for_a_schema_and_none_for_tools(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    for method in ("json_schema", "json_mode", "function_calling"):
        for strict in (None, True, False):
            llm.with_structured_output(City, method=method, strict=strict).invoke("x")

    first, *others = [post.json for post in server.posts]
    assert [first] * 8 == others
    assert "json_schema" == first["response_format"]["type"]
    assert {"enable_thinking": False} == first["chat_template_kwargs"]
    assert {"tools", "show_schema", "strict"}.isdisjoint(first)


def test_the_schema_is_shown_unless_it_shall_not(server: FakeServer, llm: ChatMlxcel) -> None:
    question = [SystemMessage("Be brief."), HumanMessage("Where?")]
    llm.with_structured_output(City).invoke(question)
    llm.with_structured_output(City, show_schema=False).invoke(question)

    systems, questions = zip(
        *([message["content"] for message in post.json["messages"]] for post in server.posts),
        strict=True,
    )
    assert ("Be brief.", "Be brief.") == systems
    shown, hidden = questions
    assert shown.startswith("Where?\n\nAnswer with JSON that fits this JSON schema:\n")
    assert CITY["properties"].keys() == json.loads(shown.splitlines()[-1])["properties"].keys()
    assert "Where?" == hidden


@pytest.mark.parametrize("fields", [{"reasoning": True}, {"reasoning": "low"}])
def test_a_model_that_is_asked_to_think_does(server: FakeServer, fields: dict[str, Any]) -> None:
    with ChatMlxcel(base_url=server.url, **fields) as llm:
        llm.with_structured_output(City, temperature=0).invoke("x")

    sent = server.posts[0].json
    assert (True, 0) == (sent["chat_template_kwargs"]["enable_thinking"], sent["temperature"])


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (None, {}, "No schema can be made from None"),
        ({"type": "json_object"}, {}, "is not a JSON schema"),
        ({"$ref": "http://x/y"}, {}, "refers to 'http://x/y' at /properties/value/"),
        ({"type": "object", "properties": {"a": {"enum": ["x" * 2_000_000]}}}, {}, "/properties/a"),
        (functools.reduce(lambda inner, _: list[inner], range(120), int), {}, "nested deeper"),
        (City, {"method": "xml"}, "method='xml' is unknown"),
        (City, {"tools": [City]}, "pass include_raw=True"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_once(
    kind: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        ChatMlxcel(base_url="http://x").with_structured_output(kind, **fields)


@pytest.mark.parametrize(
    ("kind", "title"), [(City, "City"), (Literal["a"], "answer"), (list[City], "answer")]
)
def test_callbacks_are_told_the_schema(llm: ChatMlxcel, kind: Any, title: str) -> None:
    class Started(BaseCallbackHandler):
        def on_chat_model_start(self, *_: Any, options: dict[str, Any], **__: Any) -> None:
            seen.append(options["ls_structured_output_format"])

    seen: list[dict[str, Any]] = []
    llm.with_structured_output(kind).invoke("x", {"callbacks": [Started()]})

    assert [title] == [told["schema"]["title"] for told in seen]
    assert {"method": "json_schema", "strict": None} == seen[0]["kwargs"]


# --------------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize("kind", [City, CITY, Row], ids=["pydantic", "json", "typeddict"])
def test_a_cut_answer_is_an_error_in_every_way(
    server: FakeServer, llm: ChatMlxcel, kind: Any
) -> None:
    server.script(*[Reply.text('{"name": "x",', finish="length")] * 3)

    cut = llm.with_structured_output(kind, max_tokens=5, max_attempts=1)
    for ask in (cut.invoke, lambda x: list(cut.stream(x)), lambda x: asyncio.run(streamed(cut))):
        with pytest.raises(StructuredOutputTruncated) as caught:
            ask("x")

        error: Any = caught.value
        assert isinstance(error, OutputParserException)
        assert ('{"name": "x",', '{"name": "x",') == (error.raw, error.llm_output)
        assert ({"name": "x"}, "length") == (error.partial, error.finish_reason)


def test_a_dictionary_that_does_not_fit_is_an_error(server: FakeServer, llm: ChatMlxcel) -> None:
    server.script(Reply.text('{"name": "Oslo", "people": "many"}'))

    with pytest.raises(StructuredOutputError, match="at /people") as caught:
        llm.with_structured_output(CITY, max_attempts=1).invoke("x")
    assert isinstance(caught.value, OutputParserException)


class Picky(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def refuse(cls, name: str) -> str:
        raise KeyError(name)


@pytest.mark.parametrize(
    ("kind", "text", "finish", "parsed", "error"),
    [
        (City, OSLO, "stop", City(name="Oslo by the fjord", people=7), type(None)),
        (list[int], '{"value": [1, 2, 3]}', "stop", [1, 2, 3], type(None)),
        (int, '{"value": 7}', "stop", 7, type(None)),
        (City, OSLO[:20], "length", None, StructuredOutputTruncated),
        (CITY, OSLO[:20], "length", None, StructuredOutputTruncated),
        (CITY, '{"name": "Oslo"}', "stop", None, StructuredOutputError),
        (Picky, '{"name": "Oslo"}', "stop", None, KeyError),
        (City, "Oslo, I think.", "stop", None, StructuredOutputError),
        (City, "", "stop", None, StructuredOutputError),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_include_raw_never_raises_and_keeps_the_message(
    server: FakeServer,
    llm: ChatMlxcel,
    kind: Any,
    text: str,
    finish: str,
    parsed: Any,
    error: type,
    partial: bool,
) -> None:
    server.script(*[Reply.text(text, finish=finish)] * 4)
    raw = llm.with_structured_output(kind, include_raw=True, partial=partial, max_attempts=1)
    # The older server fails after whole JSON, or is left if the schema is open: without the usage.
    unended = server.generation == "v0.4.2" and text.endswith("}")
    finish = "error" if unended and kind is not CITY else finish

    whole = [raw.invoke("x"), asyncio.run(raw.ainvoke("x"))]
    # As LangChain adds up what a chain streams.
    for result in whole + [functools.reduce(operator.add, items) for items in streams(raw)]:
        assert {"raw", "parsed", "parsing_error"} == result.keys()
        assert (parsed, error) == (result["parsed"], type(result["parsing_error"])) or (
            parsed is result["parsed"] and isinstance(result["parsing_error"], error)
        )
        message = result["raw"]
        assert (text, finish) == (message.text, message.response_metadata["finish_reason"])
        tokens = message.usage_metadata and message.usage_metadata["output_tokens"]
        assert (None if unended else len(text.split())) == tokens


def test_a_call_of_a_tool_may_come_instead(server: FakeServer, llm: ChatMlxcel) -> None:
    server.think = capable
    either = llm.with_structured_output(City, include_raw=True, tools=[get_weather])

    for question, count in (("What is the weather in Oslo?", 1), ("After the weather.", 0)):
        if not count:
            server.think = lambda body: Reply.text(OSLO)
        for result in (
            either.invoke(question),
            functools.reduce(operator.add, either.stream(question)),
        ):
            assert count == len(result["raw"].tool_calls)
            assert (count == 1) == (result["parsed"] is None)
            assert result["parsing_error"] is None
    assert "Call a tool, or answer" in server.posts[-1].json["messages"][0]["content"]


# --------------------------------------------------------------------------- response_format


FORMATS = [
    City,
    Row,
    list[int],
    CITY,
    FUNCTION,
    {"type": "json_object"},
    {"type": "json_object", "schema": CITY},
    {"type": "json_schema", "json_schema": NAMED},
    {"type": "json_schema", "json_schema": {"schema": CITY}},
    {"type": "json_schema", "json_schema": {"name": None, "schema": CITY}},
    {"type": "json_schema", "schema": CITY},
]
"""What ``response_format`` may be."""


def bound(llm: Any, wanted: Any) -> Any:
    return llm.bind(response_format=wanted).invoke("x")


def bound_with_tools(llm: Any, wanted: Any) -> Any:
    return llm.bind_tools([], response_format=wanted).invoke("x")


def called(llm: Any, wanted: Any) -> Any:
    return llm.invoke("x", response_format=wanted)


def streamed_answer(llm: Any, wanted: Any) -> Any:
    return functools.reduce(operator.add, llm.stream("x", response_format=wanted))


def called_async(llm: Any, wanted: Any) -> Any:
    return asyncio.run(llm.ainvoke("x", response_format=wanted))


def constructed(llm: Any, wanted: Any) -> Any:
    with ChatMlxcel(base_url=llm.base_url, response_format=wanted) as model:
        return model.invoke("x")


DOORS = [called, called_async, streamed_answer, bound, bound_with_tools, constructed]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("wanted", FORMATS, ids=lambda value: repr(value)[:30])
def test_a_response_format_may_be_all_that_a_schema_is_made_of(
    server: FakeServer, llm: ChatMlxcel, door: Callable[[Any, Any], Any], wanted: Any
) -> None:
    answer = door(llm, wanted)

    sent = server.posts[-1].json
    assert "json_schema" == sent["response_format"]["type"]
    assert sent["response_format"]["json_schema"]["name"]
    schema = sent["response_format"]["json_schema"]["schema"]
    assert "object" == schema["type"]
    shown = json.loads(sent["messages"][0]["content"].rpartition("\n")[2])
    assert schema.get("properties", {}).keys() == shown.get("properties", {}).keys()
    assert {"enable_thinking": False} == sent["chat_template_kwargs"]
    assert "show_schema" not in sent
    assert isinstance(json.loads(answer.text), dict)


ODD = {"title": "x", "type": "object", "properties": {"a": {"type": "string", "pattern": "(?i)a"}}}
"""A schema that mlxcel 0.4.2 cannot compile."""


@pytest.mark.parametrize("show_schema", [{}, {"show_schema": False}])
@pytest.mark.parametrize("door", [called, called_async, streamed_answer, bound, constructed])
def test_a_response_format_whose_answer_nobody_checks_is_not_relaxed(
    server: FakeServer, llm: ChatMlxcel, door: Callable[[Any, Any], Any], show_schema: Any
) -> None:
    server.generation = "v0.4.2"
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": ODD}}
    model: Any = llm.bind(**show_schema) if show_schema and door is not constructed else llm

    with pytest.raises(openai.BadRequestError, match="schema compilation failed"):
        door(model, wanted)

    assert 1 == len(server.posts)


def test_a_schema_whose_answer_is_checked_is_relaxed(server: FakeServer, llm: ChatMlxcel) -> None:
    server.generation = "v0.4.2"
    server.think = lambda body: Reply.text('{"a": "A"}')

    assert {"a": "A"} == llm.with_structured_output(ODD).invoke("x")
    # Agents check the answers that they ask for.
    llm.bind_tools([], response_format=ODD).invoke("x")

    assert 3 == len(server.posts)


@pytest.mark.parametrize("free", [{"type": "text"}, {}])
@pytest.mark.parametrize("door", DOORS)
def test_a_response_format_may_leave_the_answer_free(
    server: FakeServer, llm: ChatMlxcel, door: Callable[[Any, Any], Any], free: dict[str, str]
) -> None:
    assert "echo: x" == door(llm, free).text
    assert 1 == len(server.posts[-1].json["messages"])


@pytest.mark.parametrize("show_schema", [True, False])
def test_the_schema_of_a_response_format_is_shown_unless_it_shall_not(
    server: FakeServer, llm: ChatMlxcel, show_schema: bool
) -> None:
    for wanted in FORMATS:
        llm.invoke("x", response_format=wanted, show_schema=show_schema)
    llm.invoke("x", show_schema=show_schema)

    shown = ["JSON schema" in post.json["messages"][0]["content"] for post in server.posts]
    assert [show_schema] * len(FORMATS) + [False] == shown


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("json_object", "'json_object' is unknown: pass a class or a JSON schema"),
        (7, "it is a value, not a type"),
        (len, "it is a function"),
        ({"type": "grammar"}, "'grammar'} is unknown: pass a class or a JSON schema"),
        ({"type": "json_object", "schema": 7}, "it is a value, not a type"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "is not a response_format"),
        ({"type": "json_schema", "json_schema": 7}, "is not a response_format"),
        ({"properties": {"a": {"enum": ["x" * 70_000]}}}, "but mlxcel accepts at most"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_response_format_that_cannot_be_is_refused_before_it_is_sent(
    server: FakeServer,
    llm: ChatMlxcel,
    door: Callable[[Any, Any], Any],
    wanted: Any,
    message: str,
) -> None:
    with pytest.raises(MlxcelError, match=message):
        door(llm, wanted)
    assert [] == server.posts


# --------------------------------------------------------------------------- streams


@pytest.mark.parametrize("kind", [CITY, Row], ids=["json", "typeddict"])
def test_dictionaries_grow(server: FakeServer, llm: ChatMlxcel, kind: Any) -> None:
    server.script(*[Reply.text(OSLO)] * 2)

    for values in streams(llm.with_structured_output(kind)):
        names = [value.get("name") for value in values]
        assert [None, "Oslo", "Oslo by", "Oslo by the"] == names[:4]
        assert {"name": "Oslo by the fjord", "people": 7} == values[-1]


def test_of_a_class_only_what_is_valid_comes(server: FakeServer, llm: ChatMlxcel) -> None:
    server.script(*[Reply.text(OSLO)] * 2)

    for values in streams(llm.with_structured_output(City)):
        assert ["Oslo", "Oslo by"] == [value.name for value in values][:2]
        assert {City} == {type(value) for value in values}
        assert all(value == City.model_validate(value.model_dump()) for value in values)
        assert City(name="Oslo by the fjord", people=7) == values[-1]


def test_partial_objects_come_with_every_new_value(server: FakeServer, llm: ChatMlxcel) -> None:
    server.script(*[Reply.text(OSLO)] * 2)

    for values in streams(llm.with_structured_output(City, partial=True)):
        assert [None, "Oslo", "Oslo by"] == [value.name for value in values][:3]
        assert {City} == {type(value) for value in values}
        assert City(name="Oslo by the fjord", people=7) == values[-1]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (list[int], "[1, 2, 3]", [1, 2, 3]),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2, 3]", [1, 2, 3]),
        (int, "7", 7),
        (str, '"Oslo by the fjord"', "Oslo by the fjord"),
        (Literal["a b"], '"a b"', "a b"),
        (tuple[int, int], "[1, 2]", (1, 2)),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_a_chain_that_goes_on_gets_the_value_once(
    server: FakeServer, llm: ChatMlxcel, kind: Any, text: str, expected: Any, partial: bool
) -> None:
    """LangChain adds up what is streamed to a step that does not stream: 7 would become 14."""
    server.script(*[Reply.text(f'{{"value": {text}}}')] * 2)
    chain = llm.with_structured_output(kind, partial=partial) | RunnableLambda(lambda value: value)

    assert [[expected]] * 2 == streams(chain)


def test_lists_grow(server: FakeServer, llm: ChatMlxcel) -> None:
    server.script(*[Reply.text('{"value": [{"name": "Oslo"}, {"name": "Bergen"}]}')] * 2)

    for values in streams(llm.with_structured_output(list[City], partial=True)):
        lengths = [len(value) for value in values]
        assert (1, 2) == (lengths[0], lengths[-1])
        assert sorted(lengths) == lengths
        assert [City(name="Oslo"), City(name="Bergen")] == values[-1]


# --------------------------------------------------------------------------- leaving


def until_asked(server: FakeServer) -> None:
    while not server.generating:
        time.sleep(0.005)


def leave_the_loop(runnable: Any) -> None:
    for _ in runnable.stream("x"):
        break


def close_the_stream(runnable: Any) -> None:
    values = runnable.stream("x")
    next(values)
    values.close()


async def leave_the_loop_async(runnable: Any, server: FakeServer) -> None:
    async for _ in runnable.astream("x"):
        break


async def close_the_stream_async(runnable: Any, server: FakeServer) -> None:
    values = runnable.astream("x")
    await anext(values)
    await values.aclose()


async def cancel_the_task(runnable: Any, server: FakeServer) -> None:
    task = asyncio.ensure_future(runnable.ainvoke("x"))
    await asyncio.to_thread(until_asked, server)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("leave", [leave_the_loop, close_the_stream])
def test_leaving_frees_the_server(
    server: FakeServer, llm: ChatMlxcel, leave: Callable[[Any], None], include_raw: bool
) -> None:
    server.script(Reply.text('{"name": "Oslo', delay=60))

    leave(llm.with_structured_output(CITY, include_raw=include_raw))

    assert freed(server)


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("leave", [leave_the_loop_async, close_the_stream_async, cancel_the_task])
async def test_leaving_asynchronously_frees_the_server(
    server: FakeServer, leave: Callable[[Any, FakeServer], Awaitable[None]], include_raw: bool
) -> None:
    server.script(Reply.text('{"name": "Oslo', delay=60))
    async with ChatMlxcel(base_url=server.url) as llm:
        await leave(llm.with_structured_output(CITY, include_raw=include_raw), server)

        assert await asyncio.to_thread(freed, server)


# --------------------------------------------------------------------------- agents


class Report(BaseModel):
    """What the weather is like."""

    text: str
    places: set[str] = set()


def get_weather(location: str) -> str:
    """Return the weather at a place."""
    return f"It is sunny in {location}."


@pytest.mark.parametrize("wanted", [Report, ProviderStrategy(Report)], ids=["auto", "provider"])
@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("tools", [[], [get_weather]], ids=["bare", "tools"])
def test_an_agent_asks_for_a_schema_that_servers_take(
    server: FakeServer, llm: ChatMlxcel, wanted: Any, thinks: bool, tools: list[Any]
) -> None:
    text = '{"text": "sunny", "places": ["Oslo", "Oslo"]}'
    reply = Reply.text("", reasoning=text) if thinks else Reply.text(text)
    server.script(reply, reply)
    agent: Any = create_agent(llm, tools, system_prompt="Be brief.", response_format=wanted)
    question = {"messages": [HumanMessage("x")]}

    for state in (agent.invoke(question), asyncio.run(agent.ainvoke(question))):
        assert Report(text="sunny", places={"Oslo"}) == state["structured_response"]

    body = server.posts[-1].json
    sent = json.dumps(body["response_format"])
    assert "uniqueItems" not in sent
    system, question_sent = [message["content"] for message in body["messages"]]
    assert "Be brief." == system
    assert question_sent.startswith("x\n\n")
    assert '"places"' in question_sent
    assert {"enable_thinking": False} == body["chat_template_kwargs"]


def test_an_agent_whose_schema_is_too_large_is_refused_before_it_is_sent(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    large = {"title": "Large", **CITY, "description": "x" * 70_000}

    with pytest.raises(MlxcelError, match="but mlxcel accepts at most"):
        create_agent(llm, [], response_format=large).invoke({"messages": [HumanMessage("x")]})
    assert [] == server.posts


def test_an_agent_may_use_a_tool_for_its_answer(server: FakeServer, llm: ChatMlxcel) -> None:
    server.think = capable
    agent: Any = create_agent(llm, [], response_format=ToolStrategy(City))

    state = agent.invoke({"messages": [HumanMessage("x")]})

    assert City(name="x", people=1) == state["structured_response"]


def test_tools_that_are_too_large_together_are_refused_before_they_are_sent(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    def tool(name: str) -> dict[str, Any]:
        part = {"a": {"type": "string", "description": "x" * 40_000}}
        parameters = {"type": "object", "properties": part}
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    with pytest.raises(MlxcelError, match=r"bytes, but mlxcel accepts .*/anyOf/0"):
        llm.bind_tools([tool("a"), tool("b")], tool_choice="any").invoke("x")
    assert [] == server.posts


WRONG = {
    "other JSON": Reply.text('{"wrong": []}'),
    "cut": Reply.text('{"tools": ["get_', finish="length"),
    "no JSON": Reply.text("get_weather"),
}
SELECTION = Reply.text('{"tools": ["get_weather"]}')
RETRIES = pytest.mark.skipif(
    "max_retries" not in inspect.signature(LLMToolSelectorMiddleware).parameters,
    reason="this LangChain's selector does not ask again",
)


@RETRIES
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_tool_selector_gets_its_retries(
    llm: ChatMlxcel, server: FakeServer, wrong: str, observed: bool, asynchronous: bool
) -> None:
    server.script(WRONG[wrong], WRONG[wrong], SELECTION, Reply.text("Sunny."))
    agent: Any = create_agent(
        llm, [get_weather], middleware=[LLMToolSelectorMiddleware(max_retries=2)]
    )
    question = {"messages": [HumanMessage("x")]}
    config: Any = {"callbacks": [BaseCallbackHandler()] if observed else []}

    state = (
        asyncio.run(agent.ainvoke(question, config))
        if asynchronous
        else agent.invoke(question, config)
    )

    assert "Sunny." == state["messages"][-1].text
    assert 4 == len(server.posts)


@RETRIES
@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("other JSON", {"wrong": []}),
        ("cut", '{"tools": ["get_'),
        ("no JSON", "get_weather"),
    ],
)
def test_a_tool_selector_that_has_no_retries_left_does_as_it_was_told(
    llm: ChatMlxcel, server: FakeServer, wrong: str, expected: Any
) -> None:
    def choose(response: Any) -> list[str]:
        assert expected == response
        return ["get_weather"]

    server.script(*[WRONG[wrong]] * 2, Reply.text("Sunny."))
    selector = LLMToolSelectorMiddleware(max_retries=1, on_parsing_failure=choose)
    agent: Any = create_agent(llm, [get_weather], middleware=[selector])

    state = agent.invoke({"messages": [HumanMessage("x")]})

    assert "Sunny." == state["messages"][-1].text
