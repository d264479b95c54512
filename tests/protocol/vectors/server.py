"""A server that embeds and ranks, for tests of flows."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from mlxcel_integrations import RankedDocument
from mlxcel_integrations.protocol.flow import Call, Gather
from mlxcel_integrations.protocol.vectors.embeddings import embed_texts
from mlxcel_integrations.protocol.vectors.rerank import rerank_documents
from mlxcel_integrations.protocol.vectors.vector_models import VectorMemory
from tests.protocol.flows import drive

CHATS = {"capabilities": ["completion"]}
MODELS = {
    "data": [
        {"id": "chat", **CHATS},
        {"id": "embedder", "capabilities": ["embedding"]},
        {"id": "ranker", "capabilities": ["rerank"]},
    ]
}
PROPS = {"build_info": "mlxcel-0.5.0", "total_slots": 4}
Answer = Callable[[Call], Any]


def vector(text: str) -> list[float]:
    return [float(len(text)), float(text.count("a")), 0.5]


def embedded(body: Any) -> dict[str, Any]:
    """Vectors of the texts, in the form that is asked for, the last one first."""
    rows: list[Any] = [vector(text) for text in body["input"]]
    if body.get("encoding_format") == "base64":
        rows = [b64encode(struct.pack("<3f", *row)).decode() for row in rows]
    data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
    return {"data": data[::-1]}


def ranked(body: Any) -> dict[str, Any]:
    results = [
        {"index": index, "relevance_score": text.count(body["query"])}
        for index, text in enumerate(body["documents"])
    ]
    return {"results": results[::-1]}


class Server:
    """Answers as the newest mlxcel does, and notes what it is asked."""

    def __init__(self, **routes: Any) -> None:
        self.asked: list[Call] = []
        self._routes = {
            "/v1/models": MODELS,
            "/props": PROPS,
            "/v1/embeddings": embedded,
            "/v1/rerank": ranked,
            **{path.replace("_", "/"): answer for path, answer in routes.items()},
        }

    def __call__(self, ask: Call) -> Any:
        self.asked.append(ask)
        answer = self._routes[ask.path]
        return answer(ask.body) if callable(answer) else answer

    def bodies(self, path: str) -> list[Any]:
        return [ask.body for ask in self.asked if ask.path == path]


def embed(
    texts: Any,
    server: Answer,
    memory: VectorMemory | None = None,
    together: Callable[[Gather], object] = id,
    **options: Any,
) -> list[list[float]]:
    how: dict[str, Any] = {"model": None, "prefix": "", "instruction": None, "dimensions": None}
    how |= {"batch_size": 64, "skip_empty": False, "done": lambda count: None, **options}
    return drive(embed_texts(texts, memory or VectorMemory(), **how), server, together)


def rank(query: Any, documents: Any, server: Answer, **options: Any) -> list[RankedDocument]:
    how: dict[str, Any] = {"model": None, "instruction": None, "top_n": None, "batch_size": 64}
    return drive(rerank_documents(query, documents, VectorMemory(), **how | options), server)
