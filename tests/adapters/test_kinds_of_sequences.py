"""Messages may be in any sequence that a user has, in all functions that take them."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.server import FakeServer

TEXT = "Hello?"
KINDS: dict[str, Callable[[list[Any]], Iterable[Any]]] = {
    "tuple": tuple,
    "values": lambda messages: dict(enumerate(messages)).values(),
    "iterator": iter,
}
Use = Callable[[Any, Any], Any]
CORE: dict[str, Use] = {
    "chat": lambda llm, messages: llm.chat(messages),
    "count_message_tokens": lambda llm, messages: llm.count_message_tokens(messages),
    "fit_messages": lambda llm, messages: llm.fit_messages(messages),
}
LANGCHAIN: dict[str, Use] = {
    "count": lambda llm, messages: llm.get_num_tokens_from_messages(messages),
    "count, async": lambda llm, messages: asyncio.run(llm.aget_num_tokens_from_messages(messages)),
    "fit": lambda llm, messages: llm.fit_messages(messages),
    "fit, async": lambda llm, messages: asyncio.run(llm.afit_messages(messages)),
}


def sent(server: FakeServer) -> list[str]:
    """Return the text of the last message of each request that has some."""
    bodies = [request.json for request in server.requests if request.body]
    return [body["messages"][-1]["content"] for body in bodies if "messages" in body]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", CORE)
def test_the_clients_take_any(server: FakeServer, kind: str, use: str) -> None:
    messages = [{"role": "user", "content": TEXT}]

    async def awaited() -> None:
        async with AsyncLLM(base_url=server.url) as llm:
            await CORE[use](llm, KINDS[kind](messages))

    with LLM(base_url=server.url) as llm:
        CORE[use](llm, KINDS[kind](messages))
    asyncio.run(awaited())

    assert sent(server)
    assert all(text.startswith(TEXT) for text in sent(server))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", LANGCHAIN)
def test_langchain_takes_any(server: FakeServer, kind: str, use: str) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.messages import HumanMessage

    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(base_url=server.url) as llm:
        LANGCHAIN[use](llm, KINDS[kind]([HumanMessage(TEXT)]))

    assert {TEXT} == {*sent(server)}


def prompt() -> Any:
    """Return the prompt that a template of LangChain makes."""
    prompts = importlib.import_module("langchain_core.prompts")
    return prompts.ChatPromptTemplate([("human", "{text}")]).invoke({"text": TEXT})


@pytest.mark.parametrize("use", ["count", "fit"])
@pytest.mark.parametrize(
    "given",
    [
        lambda: TEXT,
        lambda: [TEXT],
        lambda: [("human", TEXT)],
        lambda: [{"role": "user", "content": TEXT}],
        prompt,
    ],
    ids=["text", "texts", "pairs", "dictionaries", "prompt"],
)
def test_langchain_takes_what_a_model_is_invoked_with(
    server: FakeServer, given: Callable[[], Any], use: str
) -> None:
    pytest.importorskip("langchain_core")
    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(base_url=server.url) as llm:
        result = LANGCHAIN[use](llm, given())

    assert {TEXT} == {*sent(server)}
    assert isinstance(result, int) or ["human"] == [message.type for message in result]


@pytest.mark.parametrize("kind", KINDS)
def test_llama_index_counts_any(server: FakeServer, kind: str) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import ChatMessage

    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(base_url=server.url) as llm:
        llm.count_message_tokens(KINDS[kind]([ChatMessage(TEXT)]))  # type: ignore[arg-type]  # its type is that of LlamaIndex

    assert {TEXT} == {*sent(server)}


def test_a_single_message_of_llama_index_is_told(server: FakeServer) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import ChatMessage

    from mlxcel_integrations import MlxcelError
    from mlxcel_integrations.llama_index import Mlxcel

    one: Any = ChatMessage(TEXT)
    with Mlxcel(base_url=server.url) as llm, pytest.raises(MlxcelError, match="a single message"):
        llm.count_message_tokens(one)
