"""``MlxcelRerank`` of LangChain against a scripted server."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document

from mlxcel_integrations.langchain import MlxcelRerank
from tests.fakes.server import FakeServer

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
    {"id": "ranker", "capabilities": ["rerank"]},
]

DOCUMENTS = [
    Document("nothing", metadata={"source": "a"}),
    Document("the sea", id="second"),
    Document("deep sea", metadata={"relevance_score": 9}),
    Document("the deep sea"),
]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(models=MODELS) as running:
        yield running


def test_documents_are_ranked_as_copies_and_equals_keep_their_order(
    server: FakeServer, call: Callable[..., Any]
) -> None:
    before = copy.deepcopy(DOCUMENTS)
    with MlxcelRerank(base_url=server.url) as ranker:
        kept = call(ranker, "compress_documents", DOCUMENTS, "the deep sea")

    assert ["the deep sea", "the sea", "deep sea"] == [one.page_content for one in kept]
    assert [1, pytest.approx(2 / 3), pytest.approx(2 / 3)] == [
        one.metadata["relevance_score"] for one in kept
    ]
    assert "second" == kept[1].id
    assert before == DOCUMENTS


def test_all_documents_are_kept_on_demand(server: FakeServer) -> None:
    with MlxcelRerank(base_url=server.url, top_n=None) as ranker:
        kept = ranker.compress_documents(DOCUMENTS, "the deep sea")
        assert [] == ranker.compress_documents([], "the deep sea")

    assert {"source": "a", "relevance_score": 0} == kept[-1].metadata
    assert 4 == len(kept)


def test_texts_are_ranked_with_their_places(server: FakeServer, call: Callable[..., Any]) -> None:
    with MlxcelRerank(base_url=server.url, top_n=1) as ranker:
        (best,) = call(ranker, "rerank", "sea", ["land", "sea"])

    assert (1, 1.0, "sea") == (best.index, best.relevance_score, best.document)
