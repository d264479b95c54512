"""Prompts that both frameworks read ahead: what is sent, and what the engine then reuses."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from mlxcel_integrations import MlxcelError, PromptCost
from tests.fakes.server import FakeServer, Reply

RULES = "You answer questions about a ship in one word. " * 8
SENT = [{"role": "system", "content": RULES}]


def crates(day: int) -> str:
    """Tell how many crates were loaded on a day."""
    return str(day)


class Kind(NamedTuple):
    """The model of a framework.

    Attributes:
        package: The framework.
        make: Makes the model.
        rules: A system message.
        tools: Makes tools of functions.
        ask: Asks a question under these rules, with these tools; returns the reused tokens.
    """

    package: str
    make: Callable[..., Any]
    rules: Callable[[], list[Any]]
    tools: Callable[..., list[Any]]
    ask: Callable[[Any, list[Any], list[Any]], int]


def langchain_model(**options: Any) -> Any:
    module = importlib.import_module("mlxcel_integrations.langchain")
    return module.ChatMlxcel(**options)


def langchain_rules() -> list[Any]:
    from langchain_core.messages import SystemMessage

    return [SystemMessage(RULES)]


def langchain_tools(*functions: Any) -> list[Any]:
    return [*functions]


def ask_langchain(llm: Any, rules: list[Any], tools: list[Any]) -> int:
    answer = llm.bind_tools(tools).invoke([*rules, ("user", "How many on day 3?")], max_tokens=2)
    reused: int = answer.usage_metadata["input_token_details"]["cache_read"]
    return reused


def llama_index_model(**options: Any) -> Any:
    module = importlib.import_module("mlxcel_integrations.llama_index")
    return module.Mlxcel(**options)


def llama_index_rules() -> list[Any]:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(RULES, role="system")]


def llama_index_tools(*functions: Any) -> list[Any]:
    from llama_index.core.tools import FunctionTool

    return [FunctionTool.from_defaults(function) for function in functions]


def ask_llama_index(llm: Any, rules: list[Any], tools: list[Any]) -> int:
    answer = llm.chat_with_tools(tools, "How many on day 3?", chat_history=rules, max_tokens=2)
    reused: int = answer.raw["usage"]["prompt_tokens_details"]["cached_tokens"]
    return reused


KINDS = [
    Kind("langchain_core", langchain_model, langchain_rules, langchain_tools, ask_langchain),
    Kind(
        *("llama_index.core", llama_index_model, llama_index_rules, llama_index_tools),
        ask_llama_index,
    ),
]


def named(value: Any) -> str:
    return str(value.package if isinstance(value, Kind) else value.__name__)


@pytest.fixture(params=KINDS, ids=named)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    pytest.importorskip(kind.package, reason="this framework is not installed")
    return kind


def warm(llm: Any, *given: Any, **named: Any) -> PromptCost:
    cost: PromptCost = llm.warm(*given, **named)
    return cost


def awarm(llm: Any, *given: Any, **named: Any) -> PromptCost:
    async def run() -> PromptCost:
        async with llm:
            cost: PromptCost = await llm.awarm(*given, **named)
            return cost

    return asyncio.run(run())


WAYS = pytest.mark.parametrize("way", [warm, awarm], ids=named)


@WAYS
@pytest.mark.parametrize("tools", [[], [crates]], ids=["no tools", "a tool"])
def test_messages_and_tools_are_sent_for_one_token(
    kind: Kind, server: FakeServer, way: Callable[..., PromptCost], tools: list[Any]
) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 1}
    server.script(
        Reply.text(
            "a", finish="length", usage=usage | {"prompt_tokens_details": {"cached_tokens": 60}}
        )
    )
    llm = kind.make(base_url=server.url, temperature=0.5, max_tokens=90, response_format=int)
    cost = way(llm, kind.rules(), tools=kind.tools(*tools), top_k=3)

    assert (40, 60) == (cost.tokens_read, cost.tokens_reused)
    body = server.posts[-1].json
    assert SENT == body["messages"]
    assert [tool.__name__ for tool in tools] == [
        tool["function"]["name"] for tool in body.get("tools", [])
    ]
    assert (1, 0.5, 3) == (body["max_tokens"], body["temperature"], body["top_k"])
    assert not {"response_format", "tool_choice"} & body.keys()


@WAYS
def test_what_cannot_be_read_is_told(
    kind: Kind, server: FakeServer, way: Callable[..., PromptCost]
) -> None:
    with pytest.raises(MlxcelError, match="There are no messages"):
        way(kind.make(base_url=server.url), [])
    with pytest.raises(MlxcelError, match="cannot be expressed as a tool"):
        way(kind.make(base_url=server.url), kind.rules(), tools=[3])

    assert [] == server.posts


@pytest.mark.engine
@pytest.mark.parametrize(
    ("kind", "way"), [*zip(KINDS, (warm, awarm), strict=True)], ids=named, indirect=["kind"]
)
def test_a_question_under_rules_that_were_read_ahead_reads_little_else(
    kind: Kind, way: Callable[..., PromptCost]
) -> None:
    tools = kind.tools(crates)
    # Another model of the same server, since ``awarm`` closes its own.
    with kind.make(model="embedded") as llm:
        cost = way(kind.make(model="embedded"), kind.rules(), tools=tools)
        reused = kind.ask(llm, kind.rules(), tools)

    assert 0 < cost.tokens_read
    assert reused >= 0.95 * (cost.tokens_read + cost.tokens_reused)
