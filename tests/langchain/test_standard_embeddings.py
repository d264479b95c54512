"""The suites that LangChain has for all embeddings, the second one on the embedded engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings


class TestUnit(EmbeddingsUnitTests):
    """Nothing has to run, since construction does no I/O."""

    @property
    def embeddings_class(self) -> type[MlxcelEmbeddings]:
        return MlxcelEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "owner/some-model", "binary": "/nowhere/mlxcel"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"MLXCEL_BASE_URL": "http://127.0.0.1:1"}, {"model": None}, {"base_url": None}


@pytest.fixture(scope="module")
def server() -> Iterator[ChatMlxcel]:
    """Keep the one server that all objects share."""
    with ChatMlxcel(model="embedded", max_tokens=4, temperature=0) as llm:
        yield llm


@pytest.mark.engine
@pytest.mark.usefixtures("server")
class TestEmbedded(EmbeddingsIntegrationTests):
    """On the model that also chats."""

    @property
    def embeddings_class(self) -> type[MlxcelEmbeddings]:
        return MlxcelEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "embedded"}


@pytest.mark.engine
def test_chats_and_embeddings_share_one_server(server: ChatMlxcel) -> None:
    with MlxcelEmbeddings(model="embedded") as embeddings:
        texts = ["Paris is a city.", "Oslo is a town.", "def f(x): return x"]
        paris, oslo, code = embeddings.embed_documents(texts)
        assert "Paris" in server.invoke("What is the capital of France?").text

        assert server._connection.server is embeddings._connection.server
    assert 640 == len(paris)
    assert dot(paris, oslo) > dot(paris, code)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
