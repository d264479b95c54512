"""Engines, agents and programs on ``Mlxcel`` free the server as soon as they are left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex, get_response_synthesizer
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.server import FakeServer, Reply
from tests.left_streams import LOOPS, Way, leave_in_a_loop, long_answer
from tests.left_streams import WAYS as WAYS_TO_LEAVE
from tests.llama_index.versions import QUERIES_CAN_BE_LEFT

# Core's own: every workflow looks up in itself what Pydantic 1 had.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

Wait = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        running.script(Reply.text("word " * 2000, delay=0.02))
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Mlxcel]:
    with Mlxcel(base_url=server.url) as model:
        # The window is asked for here, and no more while an answer comes.
        assert 0 < model.metadata.context_window
        yield model


def get_weather(location: str) -> str:
    """Return the weather at a place."""
    return f"It is sunny in {location}."


def engine(llm: Mlxcel, streaming: bool) -> Any:
    index = SummaryIndex.from_documents([Document(text="The meeting is in Oslo.")])
    # LlamaIndex's own helper leaves an event loop open for each message that it counts.
    synthesizer = get_response_synthesizer(llm, llm.prompt_helper(), streaming=streaming)
    return index.as_query_engine(llm=llm, response_synthesizer=synthesizer)


def chat_engine(llm: Mlxcel) -> SimpleChatEngine:
    # The default memory leaves a database open.
    return SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults(llm=llm))


async def cancel(task: asyncio.Task[Any], asked: Wait) -> None:
    await asked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def a_query(llm: Mlxcel, asked: Wait) -> None:
    await cancel(asyncio.create_task(engine(llm, streaming=False).aquery("Where?")), asked)


async def a_streamed_query(llm: Mlxcel, asked: Wait) -> None:
    response = await engine(llm, streaming=True).aquery("Where?")
    texts = response.async_response_gen()
    await anext(texts)
    await response.response_gen.aclose()
    await texts.aclose()


async def a_chat(llm: Mlxcel, asked: Wait) -> None:
    await cancel(asyncio.create_task(chat_engine(llm).achat("Hello!")), asked)


async def a_streamed_chat(llm: Mlxcel, asked: Wait) -> None:
    """In sync code, LlamaIndex reads the answer to its end in a thread, which cannot be left."""
    response = await chat_engine(llm).astream_chat("Hello!")
    assert response.awrite_response_to_history_task is not None
    await cancel(response.awrite_response_to_history_task, asked)


async def function_agent(llm: Mlxcel, asked: Wait) -> None:
    await leave_run(FunctionAgent(llm=llm, tools=[get_weather]), asked)


async def react_agent(llm: Mlxcel, asked: Wait) -> None:
    await leave_run(ReActAgent(llm=llm, tools=[get_weather]), asked)


async def leave_run(agent: Any, asked: Wait) -> None:
    handler = agent.run("What is the weather in Oslo?")
    await asked()
    await handler.cancel_run()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await handler


async def a_stream_with_tools(llm: Mlxcel, asked: Wait) -> None:
    responses = await llm.astream_chat_with_tools([], user_msg="Hello!")
    await anext(responses)
    await responses.aclose()


WAYS = [
    a_query,
    pytest.param(a_streamed_query, marks=QUERIES_CAN_BE_LEFT),
    a_chat,
    a_streamed_chat,
    function_agent,
    react_agent,
    a_stream_with_tools,
]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_left_in_async_code_hangs_up_at_once(
    server: FakeServer, llm: Mlxcel, way: Callable[[Mlxcel, Wait], Coroutine[Any, Any, None]]
) -> None:
    async def asked() -> None:
        await asyncio.to_thread(server.wait_post)

    async def leave() -> None:
        await way(llm, asked)
        assert await asyncio.to_thread(server.wait_disconnect)

    asyncio.run(leave())


# --------------------------------------------------------------------------- in silence


class Story(BaseModel):
    text: str


async def chat(llm: Mlxcel) -> AsyncIterator[Any]:
    return await llm.astream_chat([ChatMessage("x")])


async def completion(llm: Mlxcel) -> AsyncIterator[Any]:
    return await llm.astream_complete("x")


async def prediction(llm: Mlxcel) -> AsyncIterator[Any]:
    return await llm.astream(PromptTemplate("x"))


async def with_tools(llm: Mlxcel) -> AsyncIterator[Any]:
    return await llm.astream_chat_with_tools([], user_msg="x")


async def objects(llm: Mlxcel) -> AsyncIterator[Any]:
    return await llm.astream_structured_predict(Story, PromptTemplate("x"))


async def program(llm: Mlxcel) -> AsyncIterator[Any]:
    made = FunctionCallingProgram.from_defaults(Story, "x", llm=llm)
    return await made.astream_call()


async def query(llm: Mlxcel) -> AsyncIterator[Any]:
    response = await engine(llm, streaming=True).aquery("Where?")
    texts: AsyncIterator[Any] = response.async_response_gen()
    return texts


STREAMS = [
    chat,
    completion,
    prediction,
    with_tools,
    objects,
    program,
    pytest.param(query, marks=QUERIES_CAN_BE_LEFT),
]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
@pytest.mark.parametrize("loop", LOOPS)
def test_leaving_a_model_or_an_engine_is_silent(
    caplog: pytest.LogCaptureFixture, loop: str, way: Way, stream: Any
) -> None:
    with FakeServer() as server, Mlxcel(base_url=server.url, context_window=4096) as llm:
        server.script(long_answer('{"text": "'))
        leave_in_a_loop(loop, way, lambda: stream(llm), server, caplog)
