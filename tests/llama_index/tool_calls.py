"""Two tools, and all ways to call them."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.tools import FunctionTool

from mlxcel_integrations.llama_index import Mlxcel

__all__ = ["NEWS", "QUESTION", "WEATHER", "get_weather", "made", "ways"]


def get_weather(location: str) -> str:
    """Return the weather at a place."""
    return f"It is sunny in {location}."


def get_news(topic: str = "all") -> str:
    """Return the news."""
    return f"No news about {topic}."


WEATHER = FunctionTool.from_defaults(get_weather)
NEWS = FunctionTool.from_defaults(get_news)
QUESTION = "What is the weather in Oslo?"


def ways(llm: Mlxcel, tools: Any, question: Any = "Hello!", **kwargs: Any) -> list[ChatResponse]:
    """Ask in all four ways, and return the last that comes in each."""

    async def asynchronous() -> list[ChatResponse]:
        chunks = await llm.astream_chat_with_tools(tools, question, **kwargs)
        last = [chunk async for chunk in chunks][-1]
        return [await llm.achat_with_tools(tools, question, **kwargs), last]

    last = list(llm.stream_chat_with_tools(tools, question, **kwargs))[-1]
    answers = [llm.chat_with_tools(tools, question, **kwargs), last]
    return answers + asyncio.run(asynchronous())


def made(llm: Mlxcel, response: ChatResponse) -> list[tuple[str, dict[str, Any]]]:
    calls = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    assert all(call.tool_id for call in calls)
    return [(call.tool_name, call.tool_kwargs) for call in calls]
