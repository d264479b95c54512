"""``MlxcelEmbeddings`` against a scripted server."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from langchain_core import exceptions as lc
from langchain_core.vectorstores import InMemoryVectorStore

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain import MlxcelEmbeddings
from mlxcel_integrations.options.fields import SamplingParams
from tests.fakes.server import FakeServer
from tests.vectors import near

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
    {"id": "ranker", "capabilities": ["rerank"]},
]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(models=MODELS) as running:
        yield running


def test_documents_and_queries_become_vectors(server: FakeServer, call: Callable[..., Any]) -> None:
    texts = [f"text {number}\nof two lines" for number in range(150)]
    with MlxcelEmbeddings(base_url=server.url) as embeddings:
        assert [near(text) for text in texts] == call(embeddings, "embed_documents", texts)
    with MlxcelEmbeddings(base_url=server.url) as embeddings:
        assert near("a question?") == call(embeddings, "embed_query", "a question?")


def test_it_feeds_a_vector_store(server: FakeServer) -> None:
    with MlxcelEmbeddings(base_url=server.url) as embeddings:
        store = InMemoryVectorStore.from_texts(["one", "two", "three"], embeddings)
        (found,) = store.similarity_search("two", k=1)

    assert "two" == found.page_content


def test_sampling_fields_are_no_fields_of_embeddings() -> None:
    assert set() == MlxcelEmbeddings.model_fields.keys() & SamplingParams.model_fields.keys()
    with pytest.raises(MlxcelError, match="no option 'temperature'"):
        MlxcelEmbeddings(base_url="http://127.0.0.1:1", temperature=0)
    with pytest.raises(MlxcelError, match="Did you mean 'dimensions'"):
        MlxcelEmbeddings(base_url="http://127.0.0.1:1", dimension=3)


def test_copies_work_and_hold_no_key(server: FakeServer) -> None:
    server.api_key = "secret-key"
    with MlxcelEmbeddings(base_url=server.url, api_key="secret-key", batch_size=2) as embeddings:
        for other in (copy.deepcopy(embeddings), embeddings.model_copy()):
            assert near("a") == other.embed_query("a")
        stored = pickle.dumps(embeddings)
    assert b"secret-key" not in stored
    assert "secret-key" not in repr(embeddings) + str(embeddings.model_dump())
    assert 2 == pickle.loads(stored).batch_size


def test_errors_are_those_of_langchain_too(server: FakeServer, call: Callable[..., Any]) -> None:
    with (
        MlxcelEmbeddings(base_url=server.url, served_model="chat") as embeddings,
        pytest.raises(lc.ModelInvalidRequestError) as caught,
    ):
        call(embeddings, "embed_query", "a")
    assert isinstance(caught.value, openai.BadRequestError)


def test_texts_that_are_empty_are_told_or_skipped(server: FakeServer) -> None:
    with (
        MlxcelEmbeddings(base_url=server.url, text_prefix="passage: ") as embeddings,
        pytest.raises(MlxcelError, match=r"texts\[1\] is empty"),
    ):
        embeddings.embed_documents(["a", ""])
    with MlxcelEmbeddings(base_url=server.url, skip_empty=True) as embeddings:
        assert [near("a"), [0.0] * 8] == embeddings.embed_documents(["a", ""])
