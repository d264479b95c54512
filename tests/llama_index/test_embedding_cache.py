"""A cache of vectors that models share, and that LlamaIndex asks by texts alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from mlxcel_integrations.llama_index import MlxcelEmbedding
from mlxcel_integrations.llama_index.embedding_cache import NamespacedStore, QueryText
from tests.fakes.server import FakeServer
from tests.vectors import near, sent

Call = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    models = [{"id": "embedder", "capabilities": ["embedding"]}]
    with FakeServer(models=models) as running:
        yield running


def test_texts_queries_and_other_models_have_their_own_keys() -> None:
    store = SimpleKVStore()
    ours, other = NamespacedStore(store, "t ", "q "), NamespacedStore(store, "T ", "Q ")

    ours.put("a", {"a": 1})
    asyncio.run(ours.aput(QueryText("a"), {"a": 2}))

    assert ({"a": 1}, {"a": 2}) == (ours.get("a"), ours.get(QueryText("a")))
    assert {"a": 2} == asyncio.run(ours.aget(QueryText("a")))
    assert other.get("a") is None
    assert {"t a", "q a"} == other.get_all().keys() == asyncio.run(other.aget_all()).keys()
    assert (True, False) == (ours.delete("a"), asyncio.run(other.adelete(QueryText("a"))))
    assert {"q a": {"a": 2}} == store.get_all()


def test_vectors_of_different_kinds_share_a_cache_and_are_not_mixed_up(
    server: FakeServer, call: Call
) -> None:
    """LlamaIndex looks a vector up by its text alone."""
    store = SimpleKVStore()
    kinds: list[dict[str, Any]] = [{}, {"text_prefix": "p: "}, {"dimensions": 4}]
    for _ in range(2):
        for kind in [*kinds, {"model_name": "other"}]:
            options = {"base_url": server.url, "embeddings_cache": store, **kind}
            with MlxcelEmbedding(query_prefix="q: ", **options) as embedding:
                size = kind.get("dimensions", 8)
                expected = near(kind.get("text_prefix", "") + "a", size)
                assert expected == call(embedding, "get_text_embedding", "a")
            with MlxcelEmbedding(query_prefix="q: ", **options) as embedding:
                assert [expected] == call(embedding, "get_text_embedding_batch", ["a"])
            with MlxcelEmbedding(query_prefix="q: ", **options) as embedding:
                assert near("q: a", size) == call(embedding, "get_query_embedding", "a")

    # Two questions are the same: the prefix of texts is not in front of them.
    assert 2 * 4 - 1 == len(sent(server)) == len(store.get_all("embeddings"))


def test_vectors_of_the_built_in_embedder_are_not_those_that_the_built_in_model_once_made() -> None:
    """The older ones have another length, and a cache on disk may still hold them."""
    named = [
        MlxcelEmbedding(model=model, embedding_model=embedder).model_name
        for model, embedder in [("embedded", None), ("owner/name", "embedded")]
    ]

    assert ["embedded/all-MiniLM-L6-v2"] * 2 == named
    assert "owner/e" == MlxcelEmbedding(model="owner/n", embedding_model="owner/e").model_name


@pytest.mark.parametrize("served", [None, "chat"])
def test_vectors_of_a_second_server_are_kept_under_the_name_of_its_own_model(
    served: str | None,
) -> None:
    embedding = MlxcelEmbedding(model="embedded", served_model=served)

    assert "embedded/all-MiniLM-L6-v2" == embedding.model_name
