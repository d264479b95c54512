"""LlamaIndex's agents on ``Mlxcel``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentStream,
    AgentWorkflow,
    CodeActAgent,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.memory import ChatMemoryBuffer
from pydantic import BaseModel

from mlxcel_integrations import StructuredOutputTruncated
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.model import capable
from tests.fakes.server import FakeServer, Reply

# Core's own: every workflow looks up in itself what Pydantic 1 had.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

QUESTION = "What is the weather in Oslo?"
SUNNY = "It is sunny in Oslo."


def get_weather(location: str) -> str:
    """Return the weather at a place."""
    return f"It is sunny in {location}."


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        running.think = capable
        yield running


async def run(agent: Any, question: str = QUESTION, **kwargs: Any) -> tuple[Any, list[Any]]:
    """Run an agent, and return its answer and the events on the way."""
    handler = agent.run(question, **kwargs)
    events = [event async for event in handler.stream_events()]
    return await handler, events


def results(events: list[Any]) -> list[str]:
    return [str(event.tool_output) for event in events if isinstance(event, ToolCallResult)]


def roles(server: FakeServer) -> list[str]:
    return [message["role"] for message in server.posts[-1].json["messages"]]


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_calls_a_tool_and_answers(
    server: FakeServer, llm: Mlxcel, streaming: bool
) -> None:
    agent = FunctionAgent(
        llm=llm, tools=[get_weather], system_prompt="Be brief.", streaming=streaming
    )
    answer, events = await run(agent)

    assert [SUNNY] == results(events)
    assert str(answer).startswith("echo: ")
    assert ["system", "user", "assistant", "tool"] == roles(server)
    streamed = "".join(event.delta for event in events if isinstance(event, AgentStream))
    assert (str(answer) if streaming else "") == streamed


async def test_an_agent_calls_tools_side_by_side(server: FakeServer, llm: Mlxcel) -> None:
    calls = [
        {"name": "get_weather", "arguments": {"location": place}, "id": place}
        for place in ("Oslo", "Rome")
    ]
    server.script(Reply.text("One moment.", reasoning="hm", tool_calls=calls))
    _, events = await run(FunctionAgent(llm=llm, tools=[get_weather]))

    assert [SUNNY, "It is sunny in Rome."] == sorted(results(events))
    _, asked, *answered = server.posts[-1].json["messages"]
    assert "One moment." == asked["content"]
    assert ["Oslo", "Rome"] == [call["id"] for call in asked["tool_calls"]]
    assert {"Oslo", "Rome"} == {message["tool_call_id"] for message in answered}
    assert "hm" in [event.thinking_delta for event in events if isinstance(event, AgentStream)]


async def test_an_agent_may_be_told_which_tool_comes_first(server: FakeServer, llm: Mlxcel) -> None:
    agent = FunctionAgent(llm=llm, tools=[get_weather], initial_tool_choice="get_weather")
    _, events = await run(agent, "Hello!")

    assert ["It is sunny in x."] == results(events)
    first, second = (post.json for post in server.posts)
    assert (True, False) == ("response_format" in first, "response_format" in second)


async def test_a_cut_call_ends_an_agent_with_an_error(server: FakeServer, llm: Mlxcel) -> None:
    call = {"name": "get_weather", "arguments": '{"location": "Os'}
    server.script(Reply.text(tool_calls=[call], finish="length"))

    with pytest.raises(StructuredOutputTruncated, match="raise max_tokens") as caught:
        await run(FunctionAgent(llm=llm, tools=[get_weather]))
    assert {"location": "Os"} == caught.value.partial


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("arguments", ['{"location": "Os', "[1]", "Oslo"])
async def test_malformed_arguments_go_back_to_the_model(
    server: FakeServer, llm: Mlxcel, arguments: str, streaming: bool
) -> None:
    calls = [{"name": name, "arguments": arguments} for name in ("get_weather", "run_anything")]
    right = {"name": "get_weather", "arguments": {"location": "Oslo"}}
    server.script(*[Reply.text(tool_calls=[call]) for call in [*calls, right]])
    ran: list[Any] = []

    def run_anything(**anything: Any) -> str:
        """Run whatever is asked for."""
        ran.append(anything)
        return "done"

    agent = FunctionAgent(llm=llm, tools=[get_weather, run_anything], streaming=streaming)

    answer, events = await run(agent)

    *refused, sunny = [event for event in events if isinstance(event, ToolCallResult)]
    assert ([True, True], []) == ([event.tool_output.is_error for event in refused], ran)
    assert SUNNY == str(sunny.tool_output)
    assert str(answer).startswith("echo: ")
    told = server.posts[1].json["messages"][-1]
    assert ("tool", True) == (told["role"], "not a JSON object" in told["content"])


async def test_the_memory_of_an_agent_round_trips(server: FakeServer, llm: Mlxcel) -> None:
    agent = FunctionAgent(llm=llm, tools=[get_weather])
    memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
    await run(agent, memory=memory)
    answer, _ = await run(agent, "Thanks.", memory=memory)

    assert "echo: Thanks." == str(answer)
    assert ["user", "assistant", "tool", "assistant", "user"] == roles(server)
    sent = server.posts[-1].json["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]


async def test_a_history_with_calls_may_be_given(server: FakeServer, llm: Mlxcel) -> None:
    call = ToolCallBlock(tool_call_id="c1", tool_name="get_weather", tool_kwargs={"location": "ä"})
    history = [
        ChatMessage("x"),
        ChatMessage(role="assistant", blocks=[call]),
        ChatMessage("Sunny.", role="tool", additional_kwargs={"tool_call_id": "c1"}),
    ]
    await run(FunctionAgent(llm=llm, tools=[get_weather]), "Thanks.", chat_history=history)
    assert ["user", "assistant", "tool", "user"] == roles(server)


class Report(BaseModel):
    """What the weather is like."""

    text: str


async def test_an_agent_gives_an_object(server: FakeServer, llm: Mlxcel) -> None:
    answer, _ = await run(FunctionAgent(llm=llm, tools=[get_weather], output_cls=Report))
    assert Report(text="x") == answer.get_pydantic_model(Report)
    assert "json_schema" == server.posts[-1].json["response_format"]["type"]


async def test_a_workflow_hands_over_between_agents(server: FakeServer, llm: Mlxcel) -> None:
    handoff = {"name": "handoff", "arguments": {"to_agent": "weather", "reason": "weather"}}
    server.script(Reply.text(tool_calls=[handoff]))
    first = FunctionAgent(name="first", description="Asks.", llm=llm, can_handoff_to=["weather"])
    second = FunctionAgent(
        name="weather", description="Knows the weather.", llm=llm, tools=[get_weather]
    )
    answer, events = await run(AgentWorkflow([first, second], root_agent="first"))

    assert "weather" == answer.current_agent_name
    assert any("weather" in result for result in results(events))


async def test_a_workflow_of_functions_uses_the_models_tools(
    server: FakeServer, llm: Mlxcel
) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([get_weather], llm=llm)
    _, events = await run(workflow)

    assert [SUNNY] == results(events)
    assert "tools" in server.posts[0].json


async def test_a_react_agent_needs_no_tools_of_the_model(server: FakeServer, llm: Mlxcel) -> None:
    server.route("/health", Reply.json({"status": "ok", "tool_call_parser": None}))
    server.script(
        Reply.text('Thought: I look.\nAction: get_weather\nAction Input: {"location": "Oslo"}'),
        Reply.text("Thought: I can answer without using any more tools.\nAnswer: Sunny."),
    )
    answer, events = await run(ReActAgent(llm=llm, tools=[get_weather]))

    assert ([SUNNY], "Sunny.") == (results(events), str(answer))
    assert SUNNY in server.posts[-1].json["messages"][-1]["content"]
    assert {False} == {"tools" in post.json for post in server.posts}


async def test_a_code_act_agent_runs_code(server: FakeServer, llm: Mlxcel) -> None:
    server.script(Reply.text("<execute>6 * 7</execute>"), Reply.text("It is 42."))
    ran: list[str] = []

    def execute(code: str) -> str:
        """Run code."""
        ran.append(code)
        return "42"

    answer, events = await run(CodeActAgent(code_execute_fn=execute, llm=llm, tools=[get_weather]))

    assert (["6 * 7"], ["42"], "It is 42.") == (ran, results(events), str(answer))
    assert "42" in server.posts[-1].json["messages"][-1]["content"]
