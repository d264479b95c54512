"""Agents, programs, selectors and routers on a chat template without tools: all is constrained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes.prompted import arithmetic
from tests.fakes.schemas import requested_schema
from tests.fakes.server import FakeServer, Reply

# Core's own: every workflow looks up in itself what Pydantic 1 had.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

TASKS = [(n, 3 * n + 1, n % 5 + 2) for n in range(20)]

KNOWS_NONE = {"build_info": "mlxcel-1", "chat_template_caps": {"supports_tools": False}}


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param, slots=8) as running:
        running.think = arithmetic
        running.tool_call_parser = None
        if request.param == "newest":
            running.route("/props", Reply.json(KNOWS_NONE))
        yield running


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Tree(BaseModel):
    """A tree."""

    name: str
    height: int


def question(task: tuple[int, int, int]) -> str:
    return "What is ({} + {}) * {}?".format(*task)


def answer(task: tuple[int, int, int]) -> str:
    a, b, c = task
    return f"It is {(a + b) * c}."


def steps(task: tuple[int, int, int]) -> list[tuple[str, dict[str, int]]]:
    a, b, c = task
    return [("add", {"a": a, "b": b}), ("multiply", {"a": a + b, "b": c})]


def assert_constrained(server: FakeServer, count: int) -> None:
    """Check that each request had a schema, and none had tools."""
    bodies = [post.json for post in server.posts]
    assert count == len(bodies)
    assert [] == [body for body in bodies if requested_schema(body) is None or "tools" in body]


# --------------------------------------------------------------------------- LangChain


@pytest.mark.parametrize(
    ("way", "tasks"),
    [
        ("invoke", TASKS[:5]),
        ("ainvoke", TASKS[5:10]),
        ("stream", TASKS[10:15]),
        ("astream", TASKS[15:]),
    ],
)
def test_an_agent_of_langchain_solves_twenty_tasks_in_three_steps(
    server: FakeServer, way: str, tasks: list[tuple[int, int, int]]
) -> None:
    agents = pytest.importorskip("langchain.agents", reason="LangChain is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(base_url=server.url) as llm:
        agent = agents.create_agent(llm, [add, multiply])
        for task in tasks:
            messages = list(in_langchain(agent, way, question(task)))
            calls = [call for message in messages for call in getattr(message, "tool_calls", ())]
            assert steps(task) == [(call["name"], call["args"]) for call in calls]
            assert 2 == len({call["id"] for call in calls})
            assert answer(task) == messages[-1].text
        if way == "astream":
            asyncio.run(llm.aclose())

    assert_constrained(server, 3 * len(tasks))


def in_langchain(agent: Any, way: str, asked: str) -> Any:
    given = {"messages": [("user", asked)]}
    if way == "invoke":
        return agent.invoke(given)["messages"]
    if way == "ainvoke":
        return asyncio.run(agent.ainvoke(given))["messages"]
    if way == "stream":
        updates = list(agent.stream(given, stream_mode="updates"))
    else:

        async def collect() -> list[Any]:
            return [each async for each in agent.astream(given, stream_mode="updates")]

        updates = asyncio.run(collect())
    return [m for update in updates for step in update.values() for m in step["messages"]]


def test_calls_and_texts_are_streamed_by_langchain(server: FakeServer) -> None:
    pytest.importorskip("langchain_core", reason="LangChain is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(base_url=server.url) as llm:
        bound = llm.bind_tools([add, multiply])
        chunks = [chunk for chunk in bound.stream(question(TASKS[3])) if chunk.tool_call_chunks]
        parts = [part for chunk in chunks for part in chunk.tool_call_chunks]
        assert len(parts) > 3
        assert ["add"] == [part["name"] for part in parts if part["name"]]
        assert {0} == {part["index"] for part in parts}
        assert {"a": 3, "b": 10} == json.loads("".join(part["args"] for part in parts))

        server.script(Reply.text('{"answer": "One two three."}'))
        texts = [chunk.text for chunk in bound.stream("Count.") if chunk.text]
        assert len(texts) > 2
        assert "One two three." == "".join(texts)


def test_an_agent_of_langchain_with_a_schema_calls_and_answers(server: FakeServer) -> None:
    agents = pytest.importorskip("langchain.agents", reason="LangChain is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    call = {"name": "add", "arguments": {"a": 1, "b": 2}}
    tree = {"name": "oak", "height": 3}
    server.script(Reply.text(json.dumps(call)), Reply.text(json.dumps({"answer": tree})))
    with ChatMlxcel(base_url=server.url) as llm:
        agent = agents.create_agent(llm, [add], response_format=Tree)
        state = agent.invoke({"messages": [("user", "How high is the oak?")]})

    assert Tree(name="oak", height=3) == state["structured_response"]
    assert_constrained(server, 2)


# --------------------------------------------------------------------------- LlamaIndex


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Any]:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(base_url=server.url) as model:
        yield model


@pytest.mark.parametrize(
    ("several", "streaming", "tasks"),
    [
        (True, True, TASKS[:5]),
        (True, False, TASKS[5:10]),
        (False, True, TASKS[10:15]),
        (False, False, TASKS[15:]),
    ],
)
def test_an_agent_of_llama_index_solves_twenty_tasks_in_three_steps(
    server: FakeServer,
    llm: Any,
    several: bool,
    streaming: bool,
    tasks: list[tuple[int, int, int]],
) -> None:
    from llama_index.core.agent.workflow import FunctionAgent, ToolCall

    async def solve() -> None:
        agent = FunctionAgent(
            llm=llm,
            tools=[add, multiply],
            allow_parallel_tool_calls=several,
            streaming=streaming,
        )
        for task in tasks:
            running = agent.run(question(task))
            calls = [event async for event in running.stream_events() if type(event) is ToolCall]
            assert steps(task) == [(call.tool_name, call.tool_kwargs) for call in calls]
            assert 2 == len({call.tool_id for call in calls})
            assert answer(task) == str(await running)
        await llm.aclose()

    asyncio.run(solve())
    assert_constrained(server, 3 * len(tasks))


def test_from_tools_or_functions_makes_an_agent_that_calls_functions(llm: Any) -> None:
    from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent

    (agent,) = AgentWorkflow.from_tools_or_functions([add], llm=llm).agents.values()
    assert isinstance(agent, FunctionAgent)


@pytest.mark.parametrize("several", [True, False], ids=["parallel", "single"])
def test_twenty_programs_make_objects(server: FakeServer, llm: Any, several: bool) -> None:
    from llama_index.core import PromptTemplate
    from llama_index.core.program import FunctionCallingProgram
    from llama_index.core.program.utils import get_program_for_llm

    prompt = PromptTemplate("Name tree {n}.")
    program = get_program_for_llm(Tree, prompt, llm, allow_parallel_tool_calls=several)
    assert isinstance(program, FunctionCallingProgram)
    expected = Tree(name="x", height=1)

    async def asynchronous() -> list[Any]:
        try:
            return [await program.acall(n=n) for n in range(10)]
        finally:
            await llm.aclose()

    found = [program(n=n) for n in range(10)] + asyncio.run(asynchronous())

    assert [[expected] if several else expected] * 20 == found
    assert_constrained(server, 20)


def test_selectors_and_routers_choose_twenty_times(server: FakeServer, llm: Any) -> None:
    from llama_index.core.query_engine import CustomQueryEngine, RouterQueryEngine
    from llama_index.core.selectors import PydanticSingleSelector
    from llama_index.core.selectors.utils import get_selector_from_llm
    from llama_index.core.tools import QueryEngineTool, ToolMetadata

    class Said(CustomQueryEngine):
        says: str

        def custom_query(self, query_str: str) -> str:
            return self.says

    tools = [
        QueryEngineTool(Said(says=name), ToolMetadata(description=f"About {name}.", name=name))
        for name in ("rivers", "towns")
    ]
    selector = get_selector_from_llm(llm)
    assert isinstance(selector, PydanticSingleSelector)
    chosen = [selector.select([tool.metadata for tool in tools], f"Town {n}?") for n in range(10)]
    router = RouterQueryEngine.from_defaults(tools, llm=llm)

    async def asynchronous() -> Any:
        try:
            return await router.aquery("Town?")
        finally:
            await llm.aclose()

    routed = [router.query("Town?") for _ in range(9)] + [asyncio.run(asynchronous())]

    assert [0] * 10 == [result.ind for result in chosen]
    assert ["rivers"] * 10 == [str(result) for result in routed]
    assert_constrained(server, 20)
