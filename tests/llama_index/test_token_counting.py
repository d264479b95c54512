"""Token counts of ``Mlxcel``, and its helpers in LlamaIndex's ``Settings``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import llama_index.core
import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document

from mlxcel_integrations.llama_index import Mlxcel, MlxcelTokenizer
from tests.fakes.server import FakeServer
from tests.fakes.text import pieces
from tests.llama_index.conftest import STORY, unwanted

pytestmark = pytest.mark.usefixtures("no_global_tokenizer")

CHAT = [ChatMessage("Be brief.", role="system"), ChatMessage("What is the weather in Oslo?")]


@pytest.fixture(params=["v0.4.2", "newest"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param, context_size=4096) as running:
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Mlxcel]:
    with Mlxcel(base_url=server.url, max_tokens=100) as model:
        yield model


# --------------------------------------------------------------------------- usage


def drain(stream: Any) -> None:
    for _ in stream:
        pass


async def adrain(stream: Any) -> None:
    async for _ in await stream:
        pass


CALLS: dict[str, Callable[[Mlxcel], Any]] = {
    "chat": lambda llm: llm.chat(CHAT),
    "stream_chat": lambda llm: drain(llm.stream_chat(CHAT)),
    "achat": lambda llm: asyncio.run(llm.achat(CHAT)),
    "astream_chat": lambda llm: asyncio.run(adrain(llm.astream_chat(CHAT))),
    "complete": lambda llm: llm.complete("Once upon a time"),
    "stream_complete": lambda llm: drain(llm.stream_complete("Once upon a time")),
    "acomplete": lambda llm: asyncio.run(llm.acomplete("Once upon a time")),
    "astream_complete": lambda llm: asyncio.run(adrain(llm.astream_complete("Once upon a time"))),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_token_counter_shows_what_the_server_tells(
    llm: Mlxcel, server: FakeServer, call: str
) -> None:
    counter = llm.token_counter(verbose=False)
    llm.callback_manager = CallbackManager([counter])
    usage = (llm.chat(CHAT) if "chat" in call else llm.complete("Once upon a time")).raw["usage"]
    counter.reset_counts()
    server.requests.clear()

    CALLS[call](llm)

    (event,) = counter.llm_token_counts
    assert usage["prompt_tokens"] == event.prompt_token_count
    assert usage["completion_tokens"] == event.completion_token_count
    assert not [seen for seen in server.requests if seen.path == "/tokenize"]


# --------------------------------------------------------------------------- global settings


def test_nothing_is_global_until_it_is_asked_for(llm: Mlxcel) -> None:
    llm.prompt_helper()
    llm.sentence_splitter()
    llm.token_counter()

    assert unwanted is llama_index.core.global_tokenizer


def test_it_can_be_the_global_model(llm: Mlxcel) -> None:
    llama_index.core.global_tokenizer = pieces
    Settings.node_parser = SentenceSplitter(chunk_size=300, chunk_overlap=30)
    llm.install_as_global()

    assert llm is Settings.llm
    assert 2 == len(Settings.tokenizer("two words"))
    window = llm.prompt_helper().context_window
    assert [window] * 2 == [Settings.context_window, Settings.chat_context_window]
    assert [100] * 2 == [Settings.num_output, Settings.chat_num_output]
    assert (300, 30) == (Settings.chunk_size, Settings.chunk_overlap)
    assert isinstance(Settings.node_parser._tokenizer, MlxcelTokenizer)  # type: ignore[attr-defined]  # of a splitter


def test_a_splitter_of_the_user_stays_in_the_settings(llm: Mlxcel) -> None:
    class Mine(SentenceSplitter):
        pass

    Settings.node_parser = mine = Mine(tokenizer=pieces)
    llm.install_as_global()

    assert mine is Settings.node_parser


def test_an_index_uses_what_is_global(llm: Mlxcel, server: FakeServer) -> None:
    llm.install_as_global()

    index = VectorStoreIndex.from_documents([Document(text=STORY)], embed_model=MockEmbedding(4))
    index.as_query_engine(similarity_top_k=8).query("Which number?")

    sent = [seen.json["messages"] for seen in server.posts]
    counts = [llm._llm.count_message_tokens(messages) for messages in sent]
    assert 3000 < max(counts) <= 4096 - 100
