"""The whole way with a real ``mlxcel``: run by ``make test-mlxcel``.

What it answers to which request is in `tests/contract`, which runs then as well.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import psutil
import pytest

from mlxcel_integrations import LLM, AsyncLLM
from mlxcel_integrations.langchain import ChatMlxcel

pytestmark = pytest.mark.mlxcel

QUESTION = "What is the capital of France? Answer with one word."


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(model=os.environ["MLXCEL_MODEL"]) as model:
        yield model


def test_it_answers_in_every_way(llm: LLM) -> None:
    reply = llm.complete_chat(QUESTION, max_tokens=2000, temperature=0)

    assert "Paris" in reply.text
    assert "stop" == reply.finish_reason
    assert reply.usage is not None
    assert "Paris" in "".join(llm.chat_stream(QUESTION, max_tokens=2000, temperature=0))
    assert llm.generate("The capital of France is", max_tokens=8)


def test_async_and_langchain_share_the_server(llm: LLM) -> None:
    model = os.environ["MLXCEL_MODEL"]

    async def ask() -> str:
        async with AsyncLLM(model=model) as other:
            return await other.chat(QUESTION, max_tokens=2000, temperature=0)

    assert "Paris" in asyncio.run(ask())
    with ChatMlxcel(model=model, temperature=0, max_tokens=2000) as chat:
        assert "Paris" in chat.invoke(QUESTION).text
    assert 1 == len(psutil.Process().children())


def test_nothing_is_left_after_closing() -> None:
    before = psutil.Process().children()
    with LLM(model=os.environ["MLXCEL_MODEL"], alias="another"):
        assert len(before) + 1 == len(psutil.Process().children())

    assert before == psutil.Process().children()
