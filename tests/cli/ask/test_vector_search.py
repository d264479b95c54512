from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.cli.ask.store import Store
from mlxcel_integrations.cli.ask.vector_search import VectorIndex, vector_name
from mlxcel_integrations.protocol.discovery import ServedModel
from mlxcel_integrations.protocol.features import ServerFeatures
from tests.cli.ask.conftest import embedded_texts
from tests.fakes.server import FakeServer

TEXTS = ["zebra", "cat", "zebra", "lighthouse"]


@pytest.fixture
def index(server: FakeServer, store: Path) -> Iterator[VectorIndex]:
    with LLM(base_url=server.url) as llm, closing(Store(store)) as kept:
        yield VectorIndex(llm, TEXTS, kept)


def test_equal_texts_share_one_vector(index: VectorIndex, server: FakeServer) -> None:
    index.open("zebra")
    done: list[int] = []

    assert ["zebra", "cat"] == index.missing([0, 1, 2])
    index.embed(index.missing([0, 1, 2]), 10, done.append)

    assert [2] == done
    assert 3 == index.known
    assert [] == index.missing([0, 1, 2])
    assert ["zebra", "zebra", "cat"] == embedded_texts(server)


def test_the_nearest_texts_with_a_vector_come_first(index: VectorIndex) -> None:
    index.open("zebra")
    assert [] == [*index.rank("zebra", range(4), 4)]
    index.embed(["zebra", "cat"], 10, lambda done: None)

    assert [0, 2, 1] == [*index.rank("zebra", range(4), 4)]
    assert [0] == [*index.rank("zebra", range(4), 1)]


def test_no_batch_begins_after_the_time_limit(index: VectorIndex, server: FakeServer) -> None:
    index.open("zebra")

    index.embed(TEXTS, 0, lambda done: None)

    assert ["zebra"] == embedded_texts(server)


def features(*models: ServedModel) -> ServerFeatures:
    return ServerFeatures(None, None, models, None, None, None, (), "/models/chat.gguf")


def test_vectors_are_named_after_the_embedding_model() -> None:
    chat, embedder = ServedModel("chat", ("completion",)), ServedModel("e", ("embedding",))

    assert "e" == vector_name(features(chat, embedder))
    assert "e /models/chat.gguf" == vector_name(features(embedder))
