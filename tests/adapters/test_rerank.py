"""Ranked documents, asked for and returned as the client's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.adapters.rerank import RerankAdapter
from tests.adapters.frameworks import Framework
from tests.fakes.server import FakeServer

MODELS = [{"id": "ranker", "capabilities": ["rerank"]}]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"top_n": 3, "model": None, "instruction": None}),
        ({"top_n": None}, {"top_n": None, "model": None, "instruction": None}),
        (
            {"top_n": 1, "served_model": "r", "instruction": "Answer it."},
            {"top_n": 1, "model": "r", "instruction": "Answer it."},
        ),
    ],
)
def test_its_options_are_the_arguments_of_each_call(
    options: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert expected == RerankAdapter(base_url="http://localhost:1", **options)._rank_arguments()


def test_documents_are_ranked_either_way() -> None:
    with FakeServer(models=MODELS) as server, RerankAdapter(base_url=server.url, top_n=1) as model:
        ranked = model.rerank("deep sea", ["a hill", "the deep sea"])

        assert ["the deep sea"] == [one.document for one in ranked]
        assert ranked == asyncio.run(model.arerank("deep sea", ["a hill", "the deep sea"]))


@pytest.mark.parametrize("generation", ["newest", "v0.4.2"])
def test_a_server_without_a_ranker_names_the_flag(
    framework: Framework, server: FakeServer, call: Callable[..., Any]
) -> None:
    with (
        framework.ranker(base_url=server.url) as ranker,
        pytest.raises(MlxcelError, match="reranker_model="),
    ):
        framework.rank(call, ranker, "sea", ["the sea", "deep sea"])
