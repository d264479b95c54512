"""Texts with lone surrogates, which some PDF readers make, through every door."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.server import FakeServer

BAD, SENT = "a\ud800b", "a\ufffdb"
MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
    {"id": "ranker", "capabilities": ["rerank"]},
]
FUNCTION = {"name": "look", "arguments": f'{{"x": "{BAD}"}}'}
CALL = {"id": "c1", "type": "function", "function": FUNCTION}
CONVERSATION = [
    {"role": "system", "content": BAD},
    {"role": "user", "content": [{"type": "text", "text": BAD}]},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": BAD},
]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer("newest") as fake:
        fake.models = MODELS
        yield fake


CALLS: list[Callable[[Any], Any]] = [
    lambda llm: llm.chat(BAD),
    lambda llm: llm.chat(CONVERSATION),
    lambda llm: llm.generate(BAD),
    lambda llm: llm.tokenize(BAD),
    lambda llm: llm.count_tokens(BAD),
    lambda llm: llm.count_tokens([BAD, f"{BAD} {BAD}"]),
    lambda llm: llm.count_message_tokens(CONVERSATION),
    lambda llm: llm.fit_messages(CONVERSATION),
    lambda llm: llm.embed([BAD, "b"]),
    lambda llm: llm.rerank(BAD, [BAD, "b"]),
]


def check_sent(server: FakeServer) -> None:
    """Check that the server got the text, as Unicode that it can read."""
    bodies = [seen.body.decode() for seen in server.requests if seen.body]

    assert any(SENT in body for body in bodies)
    assert not any("\\ud8" in body for body in bodies)


@pytest.mark.parametrize("call", CALLS)
def test_the_clients_send_any_text(server: FakeServer, call: Callable[[Any], Any]) -> None:
    async def twin() -> Any:
        async with AsyncLLM(base_url=server.url) as llm:
            return await call(llm)

    with LLM(base_url=server.url) as llm:
        result = call(llm)
    check_sent(server)
    server.requests.clear()

    assert asyncio.run(twin()) == result
    check_sent(server)


ADAPTERS: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {
    "langchain": [
        ("ChatMlxcel", lambda llm: llm.invoke(BAD)),
        ("ChatMlxcel", lambda llm: list(llm.stream([("system", BAD), ("user", BAD)]))),
        ("ChatMlxcel", lambda llm: llm.get_num_tokens(BAD)),
        ("MlxcelLLM", lambda llm: llm.invoke(BAD)),
        ("MlxcelEmbeddings", lambda model: model.embed_documents([BAD])),
        ("MlxcelEmbeddings", lambda model: model.embed_query(BAD)),
    ],
    "llama_index": [
        ("Mlxcel", lambda llm: llm.complete(BAD)),
        ("Mlxcel", lambda llm: len(llm.tokenizer(BAD))),
        ("Mlxcel", lambda llm: llm.tokenizer(BAD)[0]),
        ("MlxcelEmbedding", lambda model: model.get_text_embedding(BAD)),
        ("MlxcelEmbedding", lambda model: model.get_query_embedding(BAD)),
    ],
}


@pytest.mark.parametrize(
    ("package", "name", "call"),
    [(package, name, call) for package, calls in ADAPTERS.items() for name, call in calls],
)
def test_the_adapters_send_any_text(
    server: FakeServer, package: str, name: str, call: Callable[[Any], Any]
) -> None:
    pytest.importorskip({"langchain": "langchain_core", "llama_index": "llama_index.core"}[package])
    kind = getattr(importlib.import_module(f"mlxcel_integrations.{package}"), name)

    with kind(base_url=server.url) as model:
        call(model)

    check_sent(server)


def test_a_splitter_of_llama_index_takes_any_text(server: FakeServer) -> None:
    pytest.importorskip("llama_index.core")
    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(base_url=server.url) as llm:
        splitter = llm.sentence_splitter(chunk_size=64, chunk_overlap=0)
        pieces = splitter.split_text(f"{BAD} word. " * 50)

    assert 1 < len(pieces)
    check_sent(server)
