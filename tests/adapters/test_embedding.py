"""Arguments of embeddings: texts and queries differ in their prefix and their instruction."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.adapters.embedding import EmbeddingAdapter

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
