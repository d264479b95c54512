"""Tools with ``Mlxcel``, on both server generations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import FunctionTool
from pydantic import RootModel

from mlxcel_integrations import MlxcelError, StructuredOutputError, StructuredOutputTruncated
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.model import capable
from tests.fakes.server import FakeServer, Reply
from tests.llama_index.tool_calls import NEWS, QUESTION, WEATHER, get_weather, made, ways


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        running.think = capable
        yield running


# --------------------------------------------------------------------------- asking


def test_a_choice_beats_tool_required(server: FakeServer, llm: Mlxcel) -> None:
    response = llm.chat_with_tools([NEWS], "Hello!", tool_required=True, tool_choice="none")
    assert ([], "none") == (made(llm, response), server.posts[-1].json["tool_choice"])


def test_the_history_of_the_caller_stays_as_it_is(server: FakeServer, llm: Mlxcel) -> None:
    history = [ChatMessage("Hello!")]
    ways(llm, [WEATHER], ChatMessage(QUESTION), chat_history=history)

    assert [ChatMessage("Hello!")] == history
    assert {2} == {len(post.json["messages"]) for post in server.posts}


def test_without_tools_nothing_is_said_about_them(server: FakeServer, llm: Mlxcel) -> None:
    assert "echo: Hello!" == llm.chat_with_tools([], "Hello!").message.content
    assert not server.posts[-1].json.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


def test_several_calls_come_where_they_are_allowed(server: FakeServer, llm: Mlxcel) -> None:
    calls = [{"name": "get_news", "arguments": {"topic": topic}} for topic in "abc"]
    server.script(*[Reply.text("One moment.", reasoning="hm", tool_calls=calls)] * 8)

    for response in ways(llm, [NEWS], allow_parallel_tool_calls=True):
        assert [("get_news", {"topic": topic}) for topic in "abc"] == made(llm, response)
        kinds = [ThinkingBlock, TextBlock, *[ToolCallBlock] * 3]
        assert kinds == [type(block) for block in response.message.blocks]
    assert {True} == {post.json["parallel_tool_calls"] for post in server.posts}

    for response in ways(llm, [NEWS]):
        assert [("get_news", {"topic": "a"})] == made(llm, response)
        assert kinds[:3] == [type(block) for block in response.message.blocks]
        assert 1 == len(response.message.additional_kwargs["tool_calls"])
    assert {False} == {post.json["parallel_tool_calls"] for post in server.posts[4:]}


def test_the_call_is_made(llm: Mlxcel) -> None:
    answer = llm.predict_and_call([WEATHER, NEWS], QUESTION)
    assert "It is sunny in Oslo." == str(answer)


def takes_anything(function: Callable[[], int]) -> None:
    """Do what no schema can say."""


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (FunctionTool.from_defaults(takes_anything), "'takes_anything', cannot be expressed"),
        (get_weather, "'function', cannot be expressed"),
        (
            FunctionTool.from_defaults(get_weather, fn_schema=RootModel[list[int]]),
            "not the JSON schema of an object",
        ),
    ],
    ids=["arguments", "function", "no object"],
)
def test_tools_that_cannot_be_expressed_are_refused_before_anything_is_sent(
    server: FakeServer, llm: Mlxcel, tool: Any, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        llm.chat_with_tools([NEWS, tool], "Hello!")
    with pytest.raises(MlxcelError, match="there is no such tool"):
        llm.chat_with_tools([NEWS], "Hello!", tool_choice="get_olds")
    assert [] == server.posts


# --------------------------------------------------------------------------- reading


def test_each_chunk_of_a_stream_can_be_read(server: FakeServer, llm: Mlxcel) -> None:
    text = '{"topic": "a \\"b\\"", "more": [1, {"c": nul'

    def event(function: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        call = {"index": 0, "id": "c1", "type": "function", "function": function}
        return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": finish}]}

    parts = [event({"name": "get_news", "arguments": ""})]
    parts += [event({"arguments": letter}) for letter in text]
    parts += [event({"arguments": "l}]}"}, "tool_calls")]
    server.script(Reply.events(parts))

    known = [
        made(llm, chunk)[0][1]
        for chunk in llm.stream_chat_with_tools([NEWS], "x", tool_choice="auto")
    ]
    assert {} == known[0]
    assert {"topic": 'a "b'} in known
    assert {"topic": 'a "b"', "more": [1, {}]} in known
    assert {"topic": 'a "b"', "more": [1, {"c": None}]} == known[-1]


@pytest.mark.parametrize(
    ("finish", "error"),
    [("length", StructuredOutputTruncated), ("tool_calls", StructuredOutputError)],
)
@pytest.mark.parametrize("text", ['{"topic": "x', "[1]", "nul"])
def test_a_tool_is_not_run_with_half_of_its_arguments(
    server: FakeServer, llm: Mlxcel, text: str, finish: str, error: type[Exception]
) -> None:
    call = {"name": "get_news", "arguments": text}
    server.script(*[Reply.text(tool_calls=[call], finish=finish)] * 4)

    for response in ways(llm, [NEWS]):
        with pytest.raises(StructuredOutputError, match="'get_news'") as caught:
            llm.get_tool_calls_from_response(response)
        truncated = isinstance(caught.value, StructuredOutputTruncated)
        assert (error is StructuredOutputTruncated, text) == (truncated, caught.value.raw)


def test_agents_see_malformed_arguments_as_a_call_that_runs_nothing(
    server: FakeServer, llm: Mlxcel
) -> None:
    server.script(*[Reply.text(tool_calls=[{"name": "get_news", "arguments": '{"topic": "x'}])] * 4)

    for response in ways(llm, [NEWS]):
        ((name, arguments),) = made(llm, response)
        assert ({}, True) == (arguments, name.startswith("get_news with arguments that are not a"))


def test_a_cut_call_is_an_error_for_agents_too(server: FakeServer, llm: Mlxcel) -> None:
    call = {"name": "get_news", "arguments": '{"topic": "x'}
    server.script(*[Reply.text(tool_calls=[call], finish="length")] * 4)

    for response in ways(llm, [NEWS]):
        with pytest.raises(StructuredOutputTruncated, match="'get_news'"):
            llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)


@pytest.mark.parametrize("required", [True, False])
def test_a_required_call_needs_a_tool(server: FakeServer, llm: Mlxcel, required: bool) -> None:
    """As with LlamaIndex's own classes, no tools make an ordinary chat."""
    for response in ways(llm, [], tool_required=required):
        assert "echo: Hello!" == response.message.content
    assert all("tools" not in post.json for post in server.posts)


def test_a_cut_text_is_not_called_a_cut_call(server: FakeServer, llm: Mlxcel) -> None:
    server.script(Reply.text("One moment", finish="length"))

    with pytest.raises(StructuredOutputError, match=r"called no tool.*which was cut") as caught:
        llm.predict_and_call([NEWS], "Hello!")
    assert not isinstance(caught.value, StructuredOutputTruncated)
    assert ("One moment", "length") == (caught.value.raw, caught.value.finish_reason)


def test_a_call_that_does_not_come_is_an_error_if_it_should(
    server: FakeServer, llm: Mlxcel
) -> None:
    with pytest.raises(StructuredOutputError, match="called no tool, but answered: 'echo: Hello!'"):
        llm.predict_and_call([WEATHER, NEWS], "Hello!")

    text = '{"name": "get_news", "arguments": {"topic": "x'
    server.script(Reply.text(text, finish="length"))
    with pytest.raises(StructuredOutputTruncated, match="raise max_tokens") as caught:
        llm.predict_and_call([NEWS], "Hello!", tool_required=True)
    assert caught.value.partial is not None


def test_results_go_back_with_their_calls(server: FakeServer, llm: Mlxcel) -> None:
    history = [ChatMessage(QUESTION), llm.chat_with_tools([WEATHER], QUESTION).message]
    (call,) = [block for block in history[1].blocks if isinstance(block, ToolCallBlock)]
    result = {"tool_call_id": call.tool_call_id}
    history.append(ChatMessage("Sunny.", role=MessageRole.TOOL, additional_kwargs=result))
    llm.chat_with_tools([WEATHER], chat_history=history)

    _, asked, answered = server.posts[-1].json["messages"]
    (sent,) = asked["tool_calls"]
    assert ("get_weather", '{"location": "Oslo"}') == tuple(sent["function"].values())
    assert sent["id"] == answered["tool_call_id"] == call.tool_call_id
    assert ("tool", "Sunny.") == (answered["role"], answered["content"])
