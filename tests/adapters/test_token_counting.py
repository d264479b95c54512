"""Counts of messages in both frameworks: the same as in the usage of the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from tests.adapters.frameworks import Framework, Json, LangChain
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer


class City(BaseModel):
    name: str
    people: int


TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "x", "parameters": {"type": "object"}},
}
CALL = {"name": "weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}
WITH_SCHEMA = {"response_format": City}

# The server, what the model is made with, and what goes with the call. At v0.4.2, an answer with a
# schema is left at its end, before the usage.
CASES: dict[str, tuple[Generation, Json, Json]] = {
    "plain, v0.4.2": ("v0.4.2", {}, {}),
    "tools, v0.4.2": ("v0.4.2", {}, {"tools": [TOOL]}),
    "plain": ("newest", {}, {}),
    "tools": ("newest", {}, {"tools": [TOOL]}),
    "schema of the model": ("newest", WITH_SCHEMA, {}),
    "schema of the model, and tools": ("newest", WITH_SCHEMA, {"tools": [TOOL]}),
    "schema of the call": ("newest", {}, WITH_SCHEMA),
    "schema that is not shown": ("newest", {}, {**WITH_SCHEMA, "show_schema": False}),
}


@pytest.mark.parametrize(("generation", "options", "call"), CASES.values(), ids=CASES)
def test_messages_are_counted_as_the_usage_tells(
    framework: Framework, generation: Generation, options: Json, call: Json
) -> None:
    if isinstance(framework, LangChain) and "response_format" in call:
        pytest.skip("LangChain's method takes no fields of the call but tools")
    messages: list[Any] = [
        framework.system("Be brief."),
        framework.user("What is the weather in Oslo?"),
        framework.assistant(calls=[CALL]),
        framework.result("sunny", "c1"),
    ]
    with (
        FakeServer(generation, context_size=4096) as server,
        framework.model(base_url=server.url, **options) as llm,
    ):
        expected = framework.prompt_tokens(llm, messages, **call)

        assert expected == framework.count(llm, messages, **call)
        assert expected == asyncio.run(framework.acount(llm, messages, **call))
