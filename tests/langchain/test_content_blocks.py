"""Content blocks of answers: reasoning, text and tool calls stay apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent, middleware
from langchain_core.messages import AIMessage

from mlxcel_integrations import StructuredOutputError
from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.server import FakeServer, Reply
from tests.langchain.ways import merged


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_v3_events_tell_thinking_text_and_calls_apart(
    server: FakeServer, llm: ChatMlxcel, asynchronous: bool
) -> None:
    call = {"name": "f", "arguments": {"a": 1}}
    server.script(Reply.text("a b", reasoning="hm hm", tool_calls=[call]))

    async def output() -> AIMessage:
        stream = await llm.astream_events("x", version="v3")
        return await stream.output

    message = asyncio.run(output()) if asynchronous else llm.stream_events("x", version="v3").output

    types = [block["type"] for block in message.content_blocks]
    assert ["reasoning", "text", "tool_call"] == types
    assert [{"a": 1}] == [call["args"] for call in message.tool_calls]


@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_streamed_blocks_lose_no_call(server: FakeServer, output_version: str) -> None:
    calls = [{"name": "News", "arguments": {"topic": topic}} for topic in "ab"]
    server.script(Reply.text("One moment.", reasoning="hm", tool_calls=calls))
    with ChatMlxcel(base_url=server.url, output_version=output_version) as llm:
        message = merged(
            list(
                llm.bind_tools(
                    [
                        {
                            "name": "News",
                            "description": "Return the news.",
                            "parameters": {"type": "object"},
                        }
                    ]
                ).stream("x")
            )
        )

    types = ["reasoning", "text", "tool_call", "tool_call"]
    assert types == [block["type"] for block in message.content_blocks]
    assert ["a", "b"] == [call["args"]["topic"] for call in message.tool_calls]


REFUSAL = Reply.events(
    [
        {"choices": [{"delta": {"refusal": "I cannot."}, "finish_reason": None}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_is_a_block_of_its_own(
    server: FakeServer, llm: ChatMlxcel, streamed: bool
) -> None:
    server.script(REFUSAL)

    message = merged(list(llm.stream("x"))) if streamed else llm.invoke("x")

    assert "I cannot." == message.text
    assert [{"type": "refusal", "refusal": "I cannot."}] == message.content_blocks


@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_instead_of_an_object_says_so(
    server: FakeServer, llm: ChatMlxcel, streamed: bool
) -> None:
    server.script(REFUSAL)
    structured = llm.with_structured_output({"type": "object", "properties": {}})

    with pytest.raises(StructuredOutputError, match=r"'I cannot\.'\. The model refused to answer"):
        list(structured.stream("x")) if streamed else structured.invoke("x")
    assert 1 == len(server.posts)


@pytest.mark.skipif(
    not hasattr(middleware, "ModelRefusalMiddleware"), reason="this LangChain knows no refusals"
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_turns_to_another_model_after_a_refusal(
    server: FakeServer, llm: ChatMlxcel, streamed: bool
) -> None:
    server.script(REFUSAL, Reply.text("Gladly."))
    agent = create_agent(
        llm,
        middleware=[middleware.ModelFallbackMiddleware(llm), middleware.ModelRefusalMiddleware()],
    )
    question: Any = {"messages": [("user", "x")]}

    states = list(agent.stream(question, stream_mode="values")) if streamed else []
    state = states[-1] if streamed else agent.invoke(question)

    assert "Gladly." == state["messages"][-1].text
