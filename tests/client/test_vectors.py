"""Embeddings and reranking over a socket: many requests at once, and what goes wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError
from tests.benchmarks.embeddings import FLOOR, OURS, embeddings
from tests.client.conftest import AsyncClient, SyncClient
from tests.fakes.program import executable
from tests.fakes.server import FakeServer, Reply, Seen
from tests.fakes.vectors import vector

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
    {"id": "ranker", "capabilities": ["rerank"]},
]
TEXTS = [f"text {number}\n" for number in range(300)]


@pytest.fixture
def vectors(server: FakeServer) -> FakeServer:
    """A server with a model for each."""
    server.models = MODELS
    return server


def test_many_texts_come_back_in_their_order(client: Any, vectors: FakeServer) -> None:
    expected = [pytest.approx(vector(text), abs=1e-7) for text in TEXTS]

    assert expected == client.embed(TEXTS)
    assert [] == client.embed([])


def test_no_more_requests_wait_at_once_than_there_are_slots(
    client: Any, vectors: FakeServer
) -> None:
    vectors.total_slots = 2

    client.embed(TEXTS, batch_size=10)

    sent = [seen.json["input"] for seen in vectors.requests if seen.path == "/v1/embeddings"]
    assert sorted(TEXTS) == sorted(text for batch in sent for text in batch)
    assert vectors.connections <= 2


def test_documents_are_ranked(client: Any, vectors: FakeServer) -> None:
    documents = ["nothing", "the sea", "deep sea", "the deep sea"]

    results = client.rerank("the deep sea", documents, top_n=3)

    assert [3, 1, 2] == [result.index for result in results]
    assert ["the deep sea", "the sea", "deep sea"] == [result.document for result in results]


@BOTH
@ON_TCP
def test_a_server_without_models_for_it_is_one_clear_error(client: Any) -> None:
    with pytest.raises(MlxcelError, match="embedding_model="):
        client.embed(["a"])
    with pytest.raises(MlxcelError, match="reranker_model="):
        client.rerank("q", ["a"])


@ON_TCP
def test_the_wrong_model_is_told_by_the_server(client: Any, vectors: FakeServer) -> None:
    with pytest.raises(openai.BadRequestError, match="not the served embedding model"):
        client.embed(["a"], model="chat")


@ON_TCP
def test_a_batch_that_fails_ends_all(client: Any, vectors: FakeServer) -> None:
    vectors.route("/v1/embeddings", Reply.error(500, "the worker died", "server_error"))

    with pytest.raises(openai.InternalServerError, match="the worker died"):
        client.embed(TEXTS, batch_size=2)
    asked = [seen for seen in vectors.requests if seen.path == "/v1/embeddings"]
    assert len(asked) < len(TEXTS) / 2


class OneFails(FakeServer):
    """Fails with the first text, and never answers the others."""

    def _embeddings(self, seen: Seen) -> Reply:
        # One that was cancelled may have come without its body.
        fails = seen.json is not None and TEXTS[0] in seen.json["input"]
        return Reply.error(500, "the worker died", "server_error") if fails else Reply.hang()


@pytest.mark.parametrize("client_type", [SyncClient, AsyncClient])
def test_a_failure_does_not_wait_for_the_others(
    client_type: type[SyncClient | AsyncClient],
) -> None:
    with OneFails(models=MODELS) as server:
        client = client_type(base_url=server.url)
        with pytest.raises(openai.InternalServerError, match="the worker died"):
            client.embed(TEXTS)
        client.shut_down()


async def test_a_cancelled_task_hangs_up() -> None:
    with FakeServer(models=MODELS) as server:
        server.route("/v1/embeddings", Reply.hang())
        async with AsyncLLM(base_url=server.url) as llm:
            task = asyncio.create_task(llm.embed(TEXTS))
            while not any(seen.path == "/v1/embeddings" for seen in server.requests):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert server.wait_disconnect(5)


@ON_TCP
def test_a_busy_server_is_asked_again(connect: Any, vectors: FakeServer) -> None:
    vectors.route("/v1/embeddings", Reply.error(503, "queue is full", "server_busy"))

    with pytest.raises(openai.InternalServerError, match="queue is full"):
        connect(max_retries=1).embed(["a"])
    assert 2 == sum(seen.path == "/v1/embeddings" for seen in vectors.requests)


@ON_TCP
def test_progress_is_shown_on_demand(
    client: Any, vectors: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    client.embed(TEXTS)
    assert "" == capsys.readouterr().err
    client.embed(TEXTS, show_progress=True)
    assert "300/300" in capsys.readouterr().err


def test_our_own_time_is_near_that_of_httpx_and_numpy() -> None:
    pytest.importorskip("numpy")
    seconds = embeddings(rounds=3, count=1000)

    assert seconds[OURS] < 1.3 * seconds[FLOOR]


def test_a_managed_server_has_models_beside_the_one_for_chats(tmp_path: Path) -> None:
    options = {"embedding_model": "owner/embedder", "reranker_model": "owner/ranker"}
    with LLM(model="owner/chat", binary=executable(tmp_path), **options) as llm:
        assert "chat" in llm.model
        assert "echo: hi" == llm.chat("hi")
        assert pytest.approx(vector("a"), abs=1e-7) == llm.embed(["a"])[0]
        assert [1, 0] == [result.index for result in llm.rerank("a", ["b", "a"])]
