"""Decisions by embeddings of `LLM` and `AsyncLLM`."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.operations import MAX_EXAMPLES
from tests.client.test_vectors import BOTH, ON_TCP
from tests.fakes.server import FakeServer

LABELS = {"billing": ["I paid twice.", "My invoice?"], "technical": ["It crashes."]}


def embedded(server: FakeServer) -> list[list[str]]:
    return [seen.json["input"] for seen in server.requests if seen.path == "/v1/embeddings"]


@pytest.fixture
def embedder(server: FakeServer) -> FakeServer:
    server.models = [{"id": "e", "capabilities": ["embedding"]}]
    return server


def test_examples_are_embedded_once(client: Any, embedder: FakeServer) -> None:
    first = client.classify("It crashes.", LABELS)
    again = client.classify("I paid twice.", {**LABELS, "other": []})

    assert ("technical", "e") == (first.label, first.model)
    assert first.probability > 0.5
    assert ["billing", "technical", "other"] == list(again.probabilities)
    assert [
        ["It crashes.", "I paid twice.", "My invoice?", "It crashes."],
        ["I paid twice.", "other"],
    ] == embedded(embedder)


@ON_TCP
def test_examples_are_forgotten_when_they_become_too_many(
    client: Any, embedder: FakeServer
) -> None:
    client.classify("?", {"a": [str(number) for number in range(MAX_EXAMPLES)]})
    client.classify("?", ["b"])
    client.classify("?", ["b"])
    client.classify("?", {"a": ["1"]})

    assert [["?", "b"], ["?"], ["?", "1"]] == embedded(embedder)[-3:]


@BOTH
def test_a_server_without_embeddings_is_one_clear_error(client: Any) -> None:
    with pytest.raises(MlxcelError, match="embedding_model="):
        client.classify("?", ["a", "b"])


def test_bad_labels_are_refused_before_anything_is_sent(client: Any, server: FakeServer) -> None:
    with pytest.raises(MlxcelError, match="100,000 labels"):
        client.classify("?", [str(number) for number in range(100_000)])
    assert not server.requests
