"""Tools and agents with ``ChatMlxcel``, on both server generations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.tools import Tool, tool
from pydantic import BaseModel

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.model import capable
from tests.fakes.server import FakeServer, Reply
from tests.langchain.ways import merged


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        running.think = capable
        yield running


@tool
def get_weather(location: str) -> str:
    """Return the weather at a place."""
    return f"It is sunny in {location}."


class News(BaseModel):
    """Return the news."""

    topic: str = "all"


def ways(runnable: Any, messages: Any) -> list[AIMessage]:
    """Ask in all four ways."""

    async def asynchronous() -> list[AIMessage]:
        chunks = [chunk async for chunk in runnable.astream(messages)]
        return [await runnable.ainvoke(messages), merged(chunks)]

    answers = [runnable.invoke(messages), merged(list(runnable.stream(messages)))]
    return answers + asyncio.run(asynchronous())


def made(message: AIMessage) -> list[tuple[str, Any]]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


def test_no_call_is_made_where_none_is_allowed(server: FakeServer, llm: ChatMlxcel) -> None:
    llm.bind_tools([News], tool_choice="none", parallel_tool_calls=False).invoke("Hello!")

    body = server.posts[-1].json
    assert ("none", False) == (body["tool_choice"], body["parallel_tool_calls"])


def test_several_calls_keep_their_order(server: FakeServer, llm: ChatMlxcel) -> None:
    calls = [{"name": "News", "arguments": {"topic": topic}} for topic in "abc"]
    for _ in range(4):
        server.script(Reply.text("One moment.", reasoning="hm", tool_calls=calls))

    for message in ways(llm.bind_tools([News]), "x"):
        assert [("News", {"topic": topic}) for topic in "abc"] == made(message)
        types = ["reasoning", "text", "tool_call", "tool_call", "tool_call"]
        assert types == [block["type"] for block in message.content_blocks]


@pytest.mark.parametrize("cut", ['{"a": 1', '{"a": "x', '{"a": "x\\', '{"a": [1, [2', "[1]", "nul"])
def test_calls_with_broken_arguments_are_kept_as_invalid_in_every_way(
    server: FakeServer, llm: ChatMlxcel, cut: str
) -> None:
    """A stream that LangChain repairs would have tools run with half of their arguments."""
    call = {"name": "News", "arguments": cut}
    for _ in range(4):
        server.script(Reply.text(tool_calls=[call], finish="length"))

    for message in ways(llm.bind_tools([News]), "x"):
        assert [] == message.tool_calls
        (invalid,) = message.invalid_tool_calls
        assert "News" == invalid["name"]
        assert (invalid["args"] or "").startswith(cut)
        assert ["invalid_tool_call"] == [block["type"] for block in message.content_blocks]


@pytest.mark.parametrize("arguments", ["[1, 2]", "5", "null", '"text"'])
def test_arguments_that_are_json_but_no_object_are_kept_as_they_are(
    server: FakeServer, llm: ChatMlxcel, arguments: str
) -> None:
    for _ in range(4):
        server.script(Reply.text(tool_calls=[{"name": "News", "arguments": arguments}]))

    for message in ways(llm.bind_tools([News]), "x"):
        assert [arguments] == [call["args"] for call in message.invalid_tool_calls]


def test_results_and_errors_go_back(server: FakeServer, llm: ChatMlxcel) -> None:
    calls = [{"name": "f", "args": {"a": "ä"}, "id": "c1", "type": "tool_call"}]
    invalid = {"name": "g", "args": "{bad", "id": "c2", "error": None, "type": "invalid_tool_call"}
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=calls, invalid_tool_calls=[invalid]),
        ToolMessage("no such file", tool_call_id="c1", status="error", artifact=object()),
        ToolMessage([{"type": "text", "text": "done"}], tool_call_id="c2"),
    ]
    llm.bind_tools([News]).invoke(history)

    _, asked, failed, done = server.posts[-1].json["messages"]
    assert [("c1", '{"a": "ä"}'), ("c2", '"{bad"')] == [
        (call["id"], call["function"]["arguments"]) for call in asked["tool_calls"]
    ]
    assert {"role": "tool", "tool_call_id": "c1", "content": "Error: no such file"} == failed
    assert {"role": "tool", "tool_call_id": "c2", "content": "done"} == done


def test_a_result_without_its_call_is_refused_before_it_is_sent(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    with pytest.raises(MlxcelError, match="result of the tool call 'c1'"):
        llm.invoke([HumanMessage("x"), ToolMessage("1", tool_call_id="c1")])
    assert [] == server.posts


def takes_anything(function: Any, connection: FakeServer) -> None:
    """Do what no schema can say."""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, r"tools\[0\], 'int', cannot be expressed"),
        (
            {"type": "object", "properties": {}},
            "'dict', cannot be expressed as a tool: Unsupported",
        ),
        (takes_anything, "'takes_anything', cannot be expressed"),
        ({"type": "web_search"}, "has the type 'web_search'"),
        (
            Tool(name="t", description="d", func=str, metadata={"type": "custom_tool"}),
            "has the type 'custom'",
        ),
    ],
)
def test_tools_that_cannot_be_expressed_are_refused_when_they_are_bound(
    given: Any, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        ChatMlxcel(base_url="http://x").bind_tools([given])


def test_a_choice_of_no_tool_is_refused_when_it_is_bound() -> None:
    with pytest.raises(MlxcelError, match="there is no such tool"):
        ChatMlxcel(base_url="http://x").bind_tools([News], tool_choice="Olds")


# --------------------------------------------------------------------------- agents


class Report(BaseModel):
    """What the weather is like."""

    text: str


def test_an_agent_calls_a_tool_and_answers(server: FakeServer, llm: ChatMlxcel) -> None:
    agent = create_agent(llm, [get_weather], system_prompt="Be brief.")
    question: Any = {"messages": [("user", "What is the weather in Oslo?")]}

    for state in (agent.invoke(question), asyncio.run(agent.ainvoke(question))):
        kinds = [message.type for message in state["messages"]]
        assert ["human", "ai", "tool", "ai"] == kinds
        assert "It is sunny in Oslo." == state["messages"][2].text
        assert state["messages"][3].text.startswith("echo: ")

    roles = [message["role"] for message in server.posts[-1].json["messages"]]
    assert ["system", "user", "assistant", "tool"] == roles


def test_an_agent_streams_its_tokens(llm: ChatMlxcel) -> None:
    agent = create_agent(llm, [get_weather])
    question: Any = {"messages": [("user", "What is the weather in Oslo?")]}

    chunks = [chunk for chunk, _ in agent.stream(question, stream_mode="messages")]

    parts = [part for chunk in chunks for part in getattr(chunk, "tool_call_chunks", ())]
    assert '{"location": "Oslo"}' == "".join(part["args"] or "" for part in parts)
    last = "".join(chunk.text for chunk in chunks if isinstance(chunk, AIMessageChunk))
    assert last.startswith("echo: ")


def test_an_agent_with_a_schema_for_its_answer_still_calls_tools(
    server: FakeServer, llm: ChatMlxcel
) -> None:
    def think(body: dict[str, Any]) -> Reply | None:
        assert "json_schema" == body["response_format"]["type"]
        if body["messages"][-1]["role"] == "tool":
            result, shown = body["messages"][-1]["content"].split("\n\n")
            assert shown.startswith("Call a tool, or answer with JSON that fits")
            return Reply.text(json.dumps({"text": result}))
        return capable(body)

    server.think = think
    agent = create_agent(llm, [get_weather], response_format=ProviderStrategy(Report))

    state = agent.invoke({"messages": [HumanMessage("What is the weather in Oslo?")]})

    assert Report(text="It is sunny in Oslo.") == state["structured_response"]


def test_the_history_of_an_agent_round_trips(llm: ChatMlxcel) -> None:
    agent = create_agent(llm, [get_weather])
    question: Any = {"messages": [("user", "What is the weather in Oslo?")]}
    history = convert_to_messages(agent.invoke(question)["messages"])

    state = agent.invoke({"messages": [*history, HumanMessage("Thanks.")]})

    assert "echo: Thanks." == state["messages"][-1].text
