"""Reranking: the requests, and what is made of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from tests.protocol.vectors.server import Server, rank


def test_documents_are_ranked_across_batches_and_equals_keep_their_order() -> None:
    server = Server()
    documents = ["-", "x", "xxx", "x", "xx", "--"]

    results = rank("x", documents, server, batch_size=2)

    assert [2, 4, 1, 3, 0, 5] == [result.index for result in results]
    assert [3.0, 2.0, 1.0, 1.0, 0.0, 0.0] == [result.relevance_score for result in results]
    assert [documents[result.index] for result in results] == [r.document for r in results]
    assert results[:2] == rank("x", documents, server, batch_size=2, top_n=2)
    assert [2, 2, 2] == [len(body["documents"]) for body in server.bodies("/v1/rerank")[:3]]
    assert [] == rank("x", [], server)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"results": [{"index": 0, "relevance_score": 1}]},
        {"results": [{"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": None}]},
        {"results": [{"index": i, "relevance_score": float("nan")} for i in range(2)]},
    ],
    ids=repr,
)
def test_an_answer_that_is_no_ranking_is_told(answer: Any) -> None:
    with pytest.raises(MlxcelError, match="/v1/rerank did not return 2 scores"):
        rank("q", ["a", "b"], Server(**{"_v1_rerank": answer}))


@pytest.mark.parametrize(
    ("query", "options"), [("", {}), (None, {}), ("q", {"top_n": 0}), ("q", {"batch_size": 0})]
)
def test_what_cannot_be_ranked_is_told_before_anything_is_sent(
    query: Any, options: dict[str, Any]
) -> None:
    server = Server()
    with pytest.raises(MlxcelError, match=r"query|top_n|batch_size"):
        rank(query, ["a"], server, **options)

    assert [] == server.asked
