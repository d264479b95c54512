"""Documents by their relevance to a query: ``/v1/rerank``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import MlxcelError
from ..arguments import as_strings, shown
from ..flow import Call, Flow
from .vector_models import (
    VectorMemory,
    batches,
    by_index,
    check_positive,
    common_fields,
    in_batches,
    refuse_missing_route,
    unusable,
)

__all__ = ["RankedDocument", "rerank_documents"]

RERANK_ROUTE = "/v1/rerank"


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document, and how relevant it is to a query.

    Attributes:
        index: Its place in the list that was given.
        relevance_score: How relevant it is; higher is better. With mlxcel, from 0 to 1.
        document: Its text.
    """

    index: int
    relevance_score: float
    document: str


def rerank_documents(
    query: str,
    documents: Iterable[str],
    memory: VectorMemory,
    *,
    model: str | None,
    instruction: str | None,
    top_n: int | None,
    batch_size: int,
) -> Flow[list[RankedDocument]]:
    """Return the documents by their relevance to a query, the most relevant first.

    The arguments are those of ``LLM.rerank``.

    Raises:
        MlxcelError: A document cannot be ranked, the server cannot rank, or its answer is
            unusable.
    """
    documents = as_strings("documents", documents)
    check_positive(batch_size=batch_size, top_n=top_n)
    if not isinstance(query, str) or not query:
        raise MlxcelError(f"query={shown(query)} must be a non-empty string.")
    if not documents:
        return []
    fields = yield from common_fields("rerank", memory, model, instruction)
    fields["query"] = query
    flows = [_rank_batch(batch, fields) for batch in batches(documents, batch_size)]
    scores: list[float] = yield from in_batches(flows, memory, lambda count: None)
    # The server sorts too, but only within a batch.
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [RankedDocument(index, scores[index], documents[index]) for index in order[:top_n]]


def _rank_batch(documents: Sequence[str], fields: Mapping[str, Any]) -> Flow[list[float]]:
    answer = yield Call(RERANK_ROUTE, {**fields, "documents": documents})
    refuse_missing_route(answer, "rerank")
    return read_scores(answer, len(documents))


def read_scores(answer: Any, count: int) -> list[float]:
    """Read an answer of ``/v1/rerank``, in the order of the documents.

    Raises:
        MlxcelError: It does not hold one finite score for each document.
    """
    try:
        entries = by_index(answer["results"], count)
        scores = [float(entry["relevance_score"]) for entry in entries]
        finite = all(map(math.isfinite, scores))
    except (KeyError, TypeError, ValueError, OverflowError):
        finite = False
    if not finite:
        raise unusable(RERANK_ROUTE, f"{count} scores")
    return scores
