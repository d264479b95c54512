"""Tools of both frameworks, in all four ways to ask, on both server generations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.adapters.frameworks import Framework, LangChain, LlamaIndex
from tests.adapters.ways import chunks
from tests.fakes.model import capable
from tests.fakes.server import FakeServer


@pytest.fixture(params=["newest", "v0.4.2"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        running.think = capable
        yield running


def get_weather(location: str) -> str:
    """Return the weather at a place."""
    return f"It is sunny in {location}."


def get_news(topic: str = "all") -> str:
    """Return the news."""
    return f"No news about {topic}."


def answers(
    framework: Framework, server: FakeServer, tools: list[Any], text: str, **choice: Any
) -> list[Any]:
    """Return the whole answers of the four ways."""
    with framework.model(base_url=server.url) as llm:
        return [
            framework.whole(
                chunks(method, framework.with_tools(llm, method, tools, text, **choice))
            )
            for method in framework.chats
        ]


def test_a_model_may_call_a_tool(framework: Framework, server: FakeServer) -> None:
    tools = [get_weather, get_news]
    asked = answers(framework, server, tools, "What is the weather in Oslo?")
    assert 4 == len(asked)
    for answer in asked:
        assert [("get_weather", {"location": "Oslo"})] == framework.calls(answer)
        assert not framework.text(answer)
        assert "tool_calls" == framework.finish_reason(answer)
    for answer in answers(framework, server, tools, "Hello!"):
        assert ("echo: Hello!", []) == (framework.text(answer), framework.calls(answer))

    body = server.posts[-1].json
    assert ["get_weather", "get_news"] == [tool["function"]["name"] for tool in body["tools"]]
    assert body.get("tool_choice") is None


FORCED: list[tuple[type[Framework], dict[str, Any]]] = [
    *((LangChain, {"tool_choice": choice}) for choice in ("any", "required", True)),
    *((LangChain, {"tool_choice": choice}) for choice in ("get_news", {"name": "get_news"})),
    *((LlamaIndex, {"tool_choice": choice}) for choice in ("required", "get_news")),
    (LlamaIndex, {"tool_required": True}),
]


@pytest.mark.parametrize(
    ("framework", "choice"),
    FORCED,
    indirect=["framework"],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_forced_call_comes_in_every_way(
    framework: Framework, server: FakeServer, choice: dict[str, Any]
) -> None:
    asked = answers(framework, server, [get_news], "Hello!", **choice)

    assert 4 == len(asked)
    for answer in asked:
        assert [("get_news", {"topic": "x"})] == framework.calls(answer)
        assert not framework.text(answer)
        assert "tool_calls" == framework.finish_reason(answer)
        # The older server fails after the call, and then tells no usage.
        assert (server.generation == "newest") is framework.has_usage(answer)
    assert {"json_schema"} == {post.json["response_format"]["type"] for post in server.posts}
