"""The four ways to get an answer from a chat model, each as one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, BaseMessage

Ask = Callable[..., BaseMessage]


def invoke(llm: Any, *args: Any, **kwargs: Any) -> BaseMessage:
    message: BaseMessage = llm.invoke(*args, **kwargs)
    return message


def ainvoke(llm: Any, *args: Any, **kwargs: Any) -> BaseMessage:
    return asyncio.run(llm.ainvoke(*args, **kwargs))


def stream(llm: Any, *args: Any, **kwargs: Any) -> BaseMessage:
    return merged(list(llm.stream(*args, **kwargs)))


def astream(llm: Any, *args: Any, **kwargs: Any) -> BaseMessage:
    async def collect() -> list[AIMessageChunk]:
        return [chunk async for chunk in llm.astream(*args, **kwargs)]

    return merged(asyncio.run(collect()))


def merged(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    first, *rest = chunks
    return first + rest if rest else first


ALL_WAYS = pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream])
