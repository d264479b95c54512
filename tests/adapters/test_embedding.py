"""Vectors: texts and queries differ in their prefix and their instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations.adapters.embedding import EmbeddingAdapter
from tests.adapters.frameworks import Framework
from tests.fakes.server import FakeServer
from tests.vectors import near, sent

URL = "http://localhost:1"
USUAL = {
    "model": None,
    "prefix": "",
    "dimensions": None,
    "skip_empty": False,
    "truncate": False,
}
NO_INSTRUCTION = {"instruction": None}


@pytest.mark.parametrize(
    ("options", "of_texts", "of_queries"),
    [
        ({}, {}, NO_INSTRUCTION),
        ({"served_model": "v"}, {"model": "v"}, {"model": "v", **NO_INSTRUCTION}),
        (
            {"text_prefix": "t: ", "query_prefix": "q: ", "instruction": "Find it."},
            {"prefix": "t: "},
            {"prefix": "q: ", "instruction": "Find it."},
        ),
        (
            {"dimensions": 8, "skip_empty": True, "truncate": True},
            {"dimensions": 8, "skip_empty": True, "truncate": True},
            {"dimensions": 8, "skip_empty": True, "truncate": True, **NO_INSTRUCTION},
        ),
    ],
)
def test_queries_have_a_prefix_and_an_instruction_of_their_own(
    options: dict[str, Any], of_texts: dict[str, Any], of_queries: dict[str, Any]
) -> None:
    model = EmbeddingAdapter(base_url=URL, **options)

    assert {**USUAL, **of_texts} == model._text_arguments()
    assert {**USUAL, **of_queries} == model._query_arguments()


def test_prefixes_instruction_and_dimensions_are_part_of_the_request(
    framework: Framework, call: Callable[..., Any]
) -> None:
    options: dict[str, Any] = {"text_prefix": "passage: ", "query_prefix": "query: "}
    options |= {"instruction": "Find it.", "dimensions": 4, "served_model": "embedder"}
    models = [{"id": name, "capabilities": [name]} for name in ("completion", "rerank")]
    models.append({"id": "embedder", "capabilities": ["embedding"]})
    with FakeServer(models=models) as server:
        options["base_url"] = server.url
        with framework.embedder(1, **options) as embedder:
            assert [near("passage: a", 4)] * 2 == framework.embed(call, embedder, ["a", "a"])
        with framework.embedder(1, **options) as embedder:
            assert near("query: a", 4) == framework.embed_query(call, embedder, "a")

        *of_texts, of_query = sent(server)
    assert [["passage: a"]] * 2 == [body["input"] for body in of_texts]
    assert [False] * 2 == ["instruction" in body for body in of_texts]
    assert (["query: a"], "Find it.") == (of_query["input"], of_query["instruction"])


@pytest.mark.parametrize("served", [None, "chat"])
def test_a_second_server_is_not_asked_for_the_model_of_the_first(
    framework: Framework, served: str | None
) -> None:
    embedder = framework.embedder(1, model="embedded", served_model=served)

    assert None is embedder._text_arguments()["model"]
