"""``MlxcelEmbedding`` against a scripted server."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import MlxcelEmbedding
from mlxcel_integrations.options.fields import SamplingParams
from tests.fakes.server import FakeServer
from tests.vectors import near, sent

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
    {"id": "ranker", "capabilities": ["rerank"]},
]
Call = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(models=MODELS, slots=2) as running:
        yield running


@pytest.mark.parametrize("method", ["get_text_embedding", "get_query_embedding"])
def test_a_text_becomes_a_vector(server: FakeServer, call: Call, method: str) -> None:
    with MlxcelEmbedding(base_url=server.url) as embedding:
        assert near("two\nlines") == call(embedding, method, "two\nlines")


def test_many_texts_are_few_requests_and_not_all_at_once(server: FakeServer, call: Call) -> None:
    texts = [f"text {number}" for number in range(1000)]
    with MlxcelEmbedding(base_url=server.url) as embedding:
        assert [near(text) for text in texts] == call(embedding, "get_text_embedding_batch", texts)

    assert 64 == max(len(body["input"]) for body in sent(server))
    assert server.connections <= 4


def test_it_makes_an_index(server: FakeServer) -> None:
    with MlxcelEmbedding(base_url=server.url) as embedding:
        documents = [Document(text=text) for text in ("one", "two", "three")]
        index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
        (found,) = index.as_retriever(similarity_top_k=1).retrieve("two")

    assert "two" == found.get_content()


def test_an_empty_text_is_told(server: FakeServer) -> None:
    with (
        MlxcelEmbedding(base_url=server.url) as embedding,
        pytest.raises(MlxcelError, match=r"texts\[1\] is empty"),
    ):
        embedding.get_text_embedding_batch(["a", ""])


def test_it_can_be_stored_and_copied_without_its_key(server: FakeServer) -> None:
    assert isinstance(MlxcelEmbedding(base_url=server.url), BaseEmbedding)
    assert set() == MlxcelEmbedding.model_fields.keys() & SamplingParams.model_fields.keys()
    server.api_key = "secret-key"
    with MlxcelEmbedding(base_url=server.url, api_key="secret-key", dimensions=4) as embedding:
        assert near("a", 4) == copy.deepcopy(embedding).get_text_embedding("a")
        stored, shown = pickle.dumps(embedding), embedding.to_dict()
    assert "secret-key" not in str([stored, shown, embedding, embedding.to_payload()])
    assert 4 == pickle.loads(stored).dimensions == MlxcelEmbedding.from_dict(shown).dimensions
    assert shown == pickle.loads(stored).to_dict()
