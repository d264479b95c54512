"""Leaving an asynchronous stream is silent, in every event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableParallel
from pydantic import BaseModel

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM
from tests.fakes.server import FakeServer
from tests.left_streams import LOOPS, WAYS, Way, leave_in_a_loop, long_answer

PROMPT = ChatPromptTemplate.from_template("{question}")
QUESTION = {"question": "x"}


class Story(BaseModel):
    text: str


class Handler(AsyncCallbackHandler):
    """Needs the loop when a stream is left."""

    async def on_llm_error(self, *error: Any, **more: Any) -> None:
        await asyncio.sleep(0)


def chat(url: str) -> AsyncIterator[Any]:
    return ChatMlxcel(base_url=url).astream("x")


def chat_with_a_handler(url: str) -> AsyncIterator[Any]:
    return ChatMlxcel(base_url=url, callbacks=[Handler()]).astream("x")


def text(url: str) -> AsyncIterator[Any]:
    return MlxcelLLM(base_url=url).astream("x")


def objects(url: str) -> AsyncIterator[Any]:
    return ChatMlxcel(base_url=url).with_structured_output(Story).astream("x")


def objects_with_a_handler(url: str) -> AsyncIterator[Any]:
    model = ChatMlxcel(base_url=url).with_structured_output(Story)
    return model.astream("x", {"callbacks": [BaseCallbackHandler()]})


def bound(url: str) -> AsyncIterator[Any]:
    return ChatMlxcel(base_url=url).bind(temperature=0).astream("x")


def chain(url: str) -> AsyncIterator[Any]:
    return (PROMPT | ChatMlxcel(base_url=url) | StrOutputParser()).astream(QUESTION)


def chain_of_objects(url: str) -> AsyncIterator[Any]:
    model = ChatMlxcel(base_url=url).with_structured_output(Story, partial=True)
    return (PROMPT | model).astream(QUESTION)


def two_at_once(url: str) -> AsyncIterator[Any]:
    model = ChatMlxcel(base_url=url)
    return RunnableParallel(one=model, other=model).astream("x")


async def events_v3(url: str) -> AsyncIterator[Any]:
    # LangChain reads the answer in a task of its own, which only the end of the block cancels.
    async with await ChatMlxcel(base_url=url).astream_events("x", version="v3") as stream:
        async for event in stream:
            yield event


STREAMS = [
    chat,
    chat_with_a_handler,
    text,
    objects,
    objects_with_a_handler,
    bound,
    chain,
    chain_of_objects,
    two_at_once,
    events_v3,
]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loop", LOOPS)
def test_leaving_a_model_or_a_chain_is_silent(
    server: FakeServer, caplog: pytest.LogCaptureFixture, loop: str, way: Way, stream: Any
) -> None:
    server.script(*[long_answer('{"text": "')] * 2)

    async def opened() -> AsyncIterator[Any]:
        return stream(server.url)

    leave_in_a_loop(loop, way, opened, server, caplog)
