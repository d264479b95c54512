"""Agents of both frameworks on servers whose tool calls lack ids or indices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.call_parts import LACKING, WAYS, Json
from tests.fakes.server import FakeServer, Reply

pytestmark = [
    # LlamaIndex's own: every workflow looks up in itself what Pydantic 1 had.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

MODEL = "fake-model"
QUESTION = "What is the weather in Paris and Rome?"


def f(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


Ask = Callable[[], str]


@contextlib.contextmanager
def create_agent(server: FakeServer) -> Iterator[tuple[Ask, Ask]]:
    """LangChain's agent: a function that runs it, and one that streams it."""
    agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    question = {"messages": [("user", QUESTION)]}
    with ChatMlxcel(base_url=server.url) as llm:
        agent = agents.create_agent(llm, [f])

        async def stream() -> str:
            *_, last = [state async for state in agent.astream(question, stream_mode="values")]
            return str(last["messages"][-1].text)

        yield (
            lambda: str(agent.invoke(question)["messages"][-1].text),
            lambda: asyncio.run(stream()),
        )


@contextlib.contextmanager
def function_agent(server: FakeServer) -> Iterator[tuple[Ask, Ask]]:
    """LlamaIndex's agent: a function that runs it, and one that streams it."""
    workflow = pytest.importorskip(
        "llama_index.core.agent.workflow", reason="this framework is not installed"
    )
    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(base_url=server.url) as llm:

        async def run(streaming: bool) -> str:
            agent = workflow.FunctionAgent(llm=llm, tools=[f], streaming=streaming)
            return str(await agent.run(QUESTION))

        yield lambda: asyncio.run(run(False)), lambda: asyncio.run(run(True))


def events(deltas: list[list[Json]]) -> list[Json]:
    chunks: list[Json] = [{"tool_calls": parts} for parts in deltas]
    made = [{"index": 0, "delta": delta, "finish_reason": None} for delta in chunks]
    made.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    return [{"id": "chat-1", "model": MODEL, "choices": [choice]} for choice in made]


@pytest.mark.parametrize("agent", [create_agent, function_agent])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_finishes(
    server: FakeServer,
    agent: Callable[[FakeServer], contextlib.AbstractContextManager[tuple[Ask, Ask]]],
    way: str,
    streamed: bool,
) -> None:
    with agent(server) as asks:
        for name, lacking in LACKING.items():
            server.script(Reply.events(events(WAYS[way](*lacking))))

            assert asks[streamed]().startswith("echo: "), name
            check_results(server.posts[-1].json["messages"])


def check_results(messages: list[Json]) -> None:
    """Check that the results of both calls have their ids."""
    _, asked, *results = messages
    cities = {call["id"]: call["function"]["arguments"] for call in asked["tool_calls"]}
    assert ['{"city": "Paris"}', '{"city": "Rome"}'] == list(cities.values())
    assert {"sunny in Paris", "sunny in Rome"} == {result["content"] for result in results}
    for result in results:
        assert result["content"].removeprefix("sunny in ") in cities[result["tool_call_id"]]
    assert all(cities)


NO_JSON = ['{"x": NaN}', '{"x": [-Infinity]}', '{"x": 1e999}', '{"x": 1', "[1]"]


@pytest.mark.parametrize("choice", ["auto", "any"])
@pytest.mark.parametrize("arguments", NO_JSON)
def test_a_call_whose_arguments_are_no_json_is_invalid_in_langchain(
    server: FakeServer, choice: str, arguments: str
) -> None:
    pytest.importorskip("langchain_core", reason="this framework is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    server.script(*[Reply.text(tool_calls=[{"name": "f", "arguments": arguments}])] * 2)

    with ChatMlxcel(base_url=server.url) as chat:
        llm = chat.bind_tools([f], tool_choice=choice)
        whole, *chunks = llm.invoke(QUESTION), *llm.stream(QUESTION)

    for answer in (whole, sum(chunks[1:], chunks[0])):
        assert [] == answer.tool_calls
        (invalid,) = answer.invalid_tool_calls
        assert "f" == invalid["name"]
        assert str(invalid["args"]).startswith(arguments)


@pytest.mark.parametrize("arguments", NO_JSON)
def test_a_call_whose_arguments_are_no_json_is_an_error_in_llama_index(
    server: FakeServer, arguments: str
) -> None:
    pytest.importorskip("llama_index.core", reason="this framework is not installed")
    from llama_index.core.tools import FunctionTool

    from mlxcel_integrations import StructuredOutputError
    from mlxcel_integrations.llama_index import Mlxcel

    server.script(*[Reply.text(tool_calls=[{"name": "f", "arguments": arguments}])] * 2)
    tools = [FunctionTool.from_defaults(f)]

    with Mlxcel(base_url=server.url) as llm:
        *_, last = llm.stream_chat_with_tools(tools, QUESTION)
        for answer in (llm.chat_with_tools(tools, QUESTION), last):
            with pytest.raises(StructuredOutputError, match="are not a JSON object"):
                llm.get_tool_calls_from_response(answer)


def test_ids_stay_from_the_first_part_to_the_end(server: FakeServer) -> None:
    pytest.importorskip("llama_index.core", reason="this framework is not installed")
    pytest.importorskip("langchain_core", reason="this framework is not installed")
    from llama_index.core.tools import FunctionTool

    from mlxcel_integrations.langchain import ChatMlxcel
    from mlxcel_integrations.llama_index import Mlxcel

    server.script(*[Reply.events(events(WAYS["streamed"](*LACKING["neither"])))] * 2)

    with ChatMlxcel(base_url=server.url) as chat, Mlxcel(base_url=server.url) as index:
        parts: dict[int, set[str]] = {}
        for chunk in chat.bind_tools([f]).stream(QUESTION):
            for part in getattr(chunk, "tool_call_chunks", ()):
                parts.setdefault(part["index"], set()).add(part["id"])
        ids = [
            [call.tool_id for call in index.get_tool_calls_from_response(chunk)]
            for chunk in index.stream_chat_with_tools(
                [FunctionTool.from_defaults(f)], QUESTION, allow_parallel_tool_calls=True
            )
        ]

    assert [2, 2] == [len(found) for found in parts.values()]
    assert all(None in found for found in parts.values())
    assert 2 == len(set(ids[-1]))
    assert all(known == ids[-1][: len(known)] for known in ids)
