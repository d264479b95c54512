"""LangChain's ``init_chat_model`` makes a ``ChatMlxcel``, once it was asked to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from langchain.chat_models import base, init_chat_model
from langchain.embeddings import base as embeddings
from langchain.embeddings import init_embeddings

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings, register_with_langchain
from tests.fakes.server import FakeServer


@pytest.fixture(autouse=True)
def _only_here() -> Iterator[None]:
    """Have LangChain's providers as they are without us, before and after."""
    base._BUILTIN_PROVIDERS.pop("mlxcel", None)
    embeddings._BUILTIN_PROVIDERS.pop("mlxcel", None)
    base._get_chat_model_creator.cache_clear()
    yield
    base._BUILTIN_PROVIDERS.pop("mlxcel", None)
    embeddings._BUILTIN_PROVIDERS.pop("mlxcel", None)


def test_langchain_is_changed_only_when_asked_to() -> None:
    with pytest.raises(ValueError, match="Unable to infer model provider"):
        init_chat_model("mlxcel:some/model")
    with pytest.raises(ValueError, match="mlxcel"):
        init_embeddings("mlxcel:some/model")


@pytest.mark.parametrize(
    ("name", "options"), [("mlxcel:some/model", {}), ("some/model", {"provider": "mlxcel"})]
)
def test_embeddings_are_made_by_their_name(name: str, options: dict[str, Any]) -> None:
    register_with_langchain()

    made = init_embeddings(name, dimensions=4, **options)

    assert isinstance(made, MlxcelEmbeddings)
    assert ("some/model", 4) == (made.model, made.dimensions)


def test_with_an_address_the_name_is_that_of_served_embeddings() -> None:
    register_with_langchain()
    served: list[Any] = [{"id": "embedder", "capabilities": ["embedding"]}]
    with FakeServer(models=served) as server:
        made: Any = init_embeddings("mlxcel:embedder", base_url=server.url)
        assert 1 == len(made.embed_documents(["x"]))
        made.close()

    assert "embedder" == made.served_model


@pytest.mark.parametrize(
    ("name", "options"),
    [("mlxcel:some/model", {}), ("some/model", {"model_provider": "mlxcel"})],
)
def test_a_model_is_made_by_its_name(name: str, options: dict[str, Any]) -> None:
    register_with_langchain()
    register_with_langchain()

    llm = init_chat_model(name, temperature=0.5, **options)

    assert isinstance(llm, ChatMlxcel)
    assert ("some/model", 0.5) == (llm.model, llm.temperature)


def test_with_an_address_the_name_is_that_of_a_served_model() -> None:
    register_with_langchain()
    with FakeServer(model_id="some/model") as server:
        llm = init_chat_model("mlxcel:some/model", base_url=server.url)
        assert "echo: x" == llm.invoke("x").text
        llm.close()

    assert "some/model" == server.posts[-1].json["model"]


@pytest.mark.filterwarnings("ignore:served_model=")  # the server has neither
def test_the_model_can_be_configured_for_a_call() -> None:
    register_with_langchain()
    with FakeServer() as server:
        llm = init_chat_model(model_provider="mlxcel", base_url=server.url)
        llm.invoke("x", config={"configurable": {"model": "one"}})
        llm.invoke("x", config={"configurable": {"model": "mlxcel:two", "model_provider": None}})

    assert ["one", "two"] == [post.json["model"] for post in server.posts]


@pytest.mark.parametrize(
    ("module", "message"),
    [(None, "pip install langchain"), (ModuleType("old"), r"1\.2\.10")],
    ids=["missing", "old"],
)
def test_a_langchain_that_cannot_be_told_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "langchain.chat_models.base", module)  # type: ignore[arg-type]  # None is a module that is not there

    with pytest.raises(MlxcelError, match=message):
        register_with_langchain()
