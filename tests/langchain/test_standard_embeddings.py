"""The suites that LangChain has for all embeddings, the second one on the embedded engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings
from tests.vectors import dot


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
def server() -> Iterator[MlxcelEmbeddings]:
    """Keep the one server that all objects share."""
    with MlxcelEmbeddings(model="embedded") as embeddings:
        yield embeddings


@pytest.mark.engine
@pytest.mark.usefixtures("server")
class TestEmbedded(EmbeddingsIntegrationTests):
    """On the built-in embedder."""

    @property
    def embeddings_class(self) -> type[MlxcelEmbeddings]:
        return MlxcelEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "embedded"}


@pytest.mark.engine
def test_embeddings_start_their_own_server_alone_and_share_it_with_a_chat_model(
    server: MlxcelEmbeddings,
) -> None:
    chat = ChatMlxcel(model="embedded")
    second = chat._connection.embedder
    assert second is not None

    paris, oslo, code = server.embed_documents(
        ["Paris is a city.", "Oslo is a town.", "def f(x): return x"]
    )

    assert second.server is server._connection.server
    assert "stopped" == chat._connection.server.state
    assert 384 == len(paris)
    assert dot(paris, oslo) > dot(paris, code)
