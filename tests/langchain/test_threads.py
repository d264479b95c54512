"""The thread that a model runs in names its conversation, unless the user names it."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any
from uuid import UUID

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM
from mlxcel_integrations.langchain.threads import session_of_thread
from tests.fakes.server import FakeServer, Reply

PROMPT = ChatPromptTemplate.from_template("{text}")
UNIQUE = UUID(int=7)


def sessions(server: FakeServer) -> list[str | None]:
    return [request.headers.get("x-session-id") for request in server.requests if request.body]


@pytest.mark.parametrize("kind", [ChatMlxcel, MlxcelLLM])
@pytest.mark.parametrize(
    ("configurable", "given", "call", "expected"),
    [
        ({"thread_id": "t"}, None, {}, "t"),
        ({"thread_id": UNIQUE}, None, {}, str(UNIQUE)),
        ({"thread_id": "t"}, "mine", {}, "mine"),
        ({"thread_id": "t"}, None, {"session": "call"}, "call"),
        ({}, None, {}, None),
        ({"thread_id": "zoë"}, None, {}, None),
        ({"thread_id": "two\nlines"}, None, {}, None),
    ],
)
def test_the_thread_of_a_chain_is_the_session(
    kind: Any,
    configurable: dict[str, Any],
    given: str | None,
    call: dict[str, Any],
    expected: str | None,
    server: FakeServer,
) -> None:
    config: Any = {"configurable": configurable}
    with kind(base_url=server.url, session=given) as model:
        chain = PROMPT | model.bind(**call)
        chain.invoke({"text": "hi"}, config)
        list(chain.stream({"text": "hi"}, config))
        asyncio.run(chain.ainvoke({"text": "hi"}, config))

    assert [expected] * 3 == sessions(server)


async def atexts(model: Any, config: Any) -> list[Any]:
    return [part async for part in model.astream("hi", config)]


async def answered(model: Any, configs: Any) -> list[Any]:
    return [answer async for answer in model.abatch_as_completed(["hi", "hi"], configs)]


@pytest.mark.parametrize("kind", [ChatMlxcel, MlxcelLLM])
@pytest.mark.parametrize(
    "call",
    [
        lambda model, configs: [model.invoke("hi", config) for config in configs],
        lambda model, configs: [list(model.stream("hi", config)) for config in configs],
        lambda model, configs: [asyncio.run(model.ainvoke("hi", config)) for config in configs],
        lambda model, configs: [asyncio.run(atexts(model, config)) for config in configs],
        lambda model, configs: model.batch(["hi", "hi"], configs),
        lambda model, configs: list(model.batch_as_completed(["hi", "hi"], configs)),
        lambda model, configs: asyncio.run(model.abatch(["hi", "hi"], configs)),
        lambda model, configs: asyncio.run(answered(model, configs)),
        lambda model, configs: (PROMPT | model).batch([{"text": "hi"}] * 2, configs),
        lambda model, configs: asyncio.run((PROMPT | model).abatch([{"text": "hi"}] * 2, configs)),
    ],
    ids=[
        *("invoke", "stream", "ainvoke", "astream"),
        *("batch", "batch_as_completed", "abatch", "abatch_as_completed"),
        *("batch of a chain", "abatch of a chain"),
    ],
)
def test_a_thread_is_the_session_however_a_model_is_called(
    kind: Any, call: Any, server: FakeServer
) -> None:
    with kind(base_url=server.url) as model:
        call(model, [{"configurable": {"thread_id": thread}} for thread in ("one", "two")])

    assert ["one", "two"] == sorted(map(str, sessions(server)))


def test_a_cached_answer_is_for_all_threads(server: FakeServer) -> None:
    for kind in (ChatMlxcel, MlxcelLLM):
        with kind(base_url=server.url, cache=InMemoryCache()) as model:
            for thread in ("one", "two"):
                model.invoke("hi", {"configurable": {"thread_id": thread}})

    assert ["one", "one"] == sessions(server)


@pytest.mark.parametrize(
    ("place", "agent", "expected"),
    [
        ("", None, "t"),
        ("model:91bc", None, "t"),
        ("model:91bc", "boss", "t"),
        ("research:3f2a|model:91bc", None, "t/research"),
        ("research:3f2a|look:77|model:91bc", None, "t/research/look"),
        ("tools:3f2a|model:91bc", "critic", "t/tools/critic"),
    ],
)
def test_a_subagent_has_a_session_of_its_own(place: str, agent: str | None, expected: str) -> None:
    config: Any = {
        "configurable": {"thread_id": "t", "checkpoint_ns": place},
        "metadata": {"lc_agent_name": agent} if agent else {},
    }

    assert expected == session_of_thread(config)


@pytest.mark.parametrize("kind", [ChatMlxcel, MlxcelLLM])
def test_a_runnable_is_also_made_of_a_method_that_finds_the_thread(
    kind: Any, server: FakeServer
) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    with kind(base_url=server.url) as model:
        for method in (model.invoke, model.stream):
            answer = RunnableLambda(method).invoke("hi", config)
            assert "echo: hi" == getattr(answer, "text", answer)
        for method in (model.ainvoke, model.astream):
            answer = asyncio.run(RunnableLambda(method).ainvoke("hi", config))
            assert "echo: hi" == getattr(answer, "text", answer)

    assert ["t"] * 4 == sessions(server)


@pytest.mark.parametrize("kind", [ChatMlxcel, MlxcelLLM])
@pytest.mark.parametrize("name", ["invoke", "ainvoke", "stream", "astream"])
def test_help_shows_the_arguments_of_langchain(kind: Any, name: str) -> None:
    ours, theirs = (inspect.signature(getattr(of, name)) for of in (kind, BaseChatModel))

    assert [*theirs.parameters] == [*ours.parameters]


def test_subagents_that_are_tools_have_sessions_of_their_own(server: FakeServer) -> None:
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    with ChatMlxcel(base_url=server.url) as model:
        writer, critic = (create_agent(model, name=name) for name in ("writer", "critic"))

        @tool
        def write(text: str) -> str:
            """Write."""
            return str(writer.invoke({"messages": [("user", text)]}))

        @tool
        def judge(text: str) -> str:
            """Judge."""
            return str(critic.invoke({"messages": [("user", text)]}))

        for name in ("write", "judge"):
            call = {"name": name, "arguments": {"text": "hi"}}
            calling = Reply.text(tool_calls=[call], finish="tool_calls")
            server.script(calling, Reply.text("well"), Reply.text("done"))
            given: Any = {"messages": [("user", "hi")]}
            boss = create_agent(model, [write, judge], name="boss")
            boss.invoke(given, {"configurable": {"thread_id": "t"}})

    assert ["t", "t/tools/writer", "t", "t", "t/tools/critic", "t"] == sessions(server)


def test_all_turns_of_an_agent_are_one_session(server: FakeServer) -> None:
    from langchain.agents import create_agent

    with ChatMlxcel(base_url=server.url) as model:
        agent = create_agent(model)
        for text in ("hi", "bye"):
            given: Any = {"messages": [("user", text)]}
            agent.invoke(given, {"configurable": {"thread_id": "t"}})

    assert ["t", "t"] == sessions(server)


def test_a_thread_around_a_model_is_no_keyword_of_its_calls(server: FakeServer) -> None:
    """Traces show keywords of calls."""
    shown = []

    class Tracer(BaseCallbackHandler):
        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            shown.append(kwargs["invocation_params"])

    with ChatMlxcel(base_url=server.url, callbacks=[Tracer()]) as model:
        node = RunnableLambda(lambda text: model.invoke(text))
        node.invoke("hi", {"configurable": {"thread_id": "t"}})

    assert [None] == [params.get("session") for params in shown]
    assert ["t"] == sessions(server)
