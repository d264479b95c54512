"""Embeddings and reranking as the newest server answers them, without a model."""

from __future__ import annotations

import hashlib
import math
import struct
from base64 import b64encode

from tests.fake_checks import invalid, is_int, is_list, is_string
from tests.fake_replies import Json, Reply, pieces

DIMENSIONS = 8


def vector(item: object, size: int = DIMENSIONS) -> list[float]:
    """A unit vector that depends on the item alone."""
    digest = hashlib.sha256(repr(item).encode()).digest()
    values = [byte / 255 - 0.5 for byte in digest[:size]]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def embeddings(body: Json, model: str | None) -> Reply:
    """Answer `/v1/embeddings`; `model` is the served embedding model, if there is one."""
    if body.get("input") is None:
        raise invalid("input is required")
    if model is None:
        raise invalid("no embedding model is loaded", "not_implemented", 501)
    if body.get("model") not in (None, model):
        raise invalid(f"model {body['model']!r} is not the served embedding model")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise invalid("encoding_format must be float or base64")
    size = body.get("dimensions") or DIMENSIONS
    if not 1 <= size <= DIMENSIONS:
        raise invalid("dimensions is out of range")
    items = body["input"]
    if is_string(items) or (items and all(map(is_int, items))):
        items = [items]
    if not items or not all(items):
        raise invalid("input must not be empty")
    rows: list[list[float] | str] = []
    for item in items:
        row = vector(item, size)
        packed = b64encode(struct.pack(f"<{size}f", *row)).decode()
        rows.append(packed if encoding == "base64" else row)
    count = sum(len(pieces(item)) if isinstance(item, str) else len(item) for item in items)
    return Reply.json(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": row}
                for index, row in enumerate(rows)
            ],
            "model": model,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
    )


def rerank(body: Json, model: str | None) -> Reply:
    """Answer `/v1/rerank`: the score is the share of the query's words a document has."""
    query, documents = body.get("query"), body.get("documents")
    if not query or not documents or not is_list(documents):
        raise invalid("query and documents are required")
    if (body.get("top_n") or 1) < 1:
        raise invalid("top_n must be at least 1")
    if model is None:
        raise invalid("no reranker model is loaded", "not_implemented", 501)
    if body.get("model") not in (None, model):
        raise invalid(f"model {body['model']!r} is not the served reranker model")
    words = set(str(query).lower().split())
    results = []
    for index, document in enumerate(documents):
        score = len(words & set(str(document).lower().split())) / len(words)
        shown = {"document": document} if body.get("return_documents") else {}
        results.append({"index": index, "relevance_score": score, **shown})
    results.sort(key=lambda result: -result["relevance_score"])
    count = sum(len(pieces(str(text))) for text in [query, *documents])
    return Reply.json(
        {
            "model": model,
            "object": "list",
            "results": results[: body.get("top_n")],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
    )
