"""Adapters travel to other processes as Ray sends them, and no key goes with them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings, MlxcelLLM
from mlxcel_integrations.langchain import MlxcelRerank as LangChainRerank
from mlxcel_integrations.llama_index import Mlxcel, MlxcelEmbedding
from mlxcel_integrations.llama_index import MlxcelRerank as LlamaIndexRerank
from tests.fakes.server import FakeServer

cloudpickle = pytest.importorskip(
    "ray.cloudpickle", reason="the extra [ray] is not installed", exc_type=ImportError
)

ADAPTERS = [
    *(ChatMlxcel, MlxcelLLM, MlxcelEmbeddings, LangChainRerank),
    *(Mlxcel, MlxcelEmbedding, LlamaIndexRerank),
]


@pytest.mark.parametrize("kind", ADAPTERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@pytest.mark.parametrize(
    "where", [{"model": "embedded", "ctx_size": 512}, {"base_url": "http://a"}]
)
def test_an_adapter_travels_without_its_key(kind: Any, where: dict[str, Any]) -> None:
    adapter = kind(api_key="a-secret-key", timeout=7.0, **where)

    pickled = cloudpickle.dumps(adapter)

    assert b"a-secret-key" not in pickled
    there = pickle.loads(pickled)
    assert (7.0, None) == (there.timeout, there.api_key)
    assert where == {name: getattr(there, name) for name in where}


def test_the_key_is_the_one_of_where_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(api_key="there") as server:
        pickled = cloudpickle.dumps(ChatMlxcel(base_url=server.url, api_key="here"))
        monkeypatch.setenv("MLXCEL_API_KEY", "there")

        assert "echo: Hi" == pickle.loads(pickled).invoke("Hi").text
