"""Embeddings and reranking as the newest server answers them, without a model."""

from __future__ import annotations

import hashlib
import json
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
    size = DIMENSIONS if body.get("dimensions") is None else body["dimensions"]
    if not is_int(size) or not 1 <= size <= DIMENSIONS:
        raise invalid("dimensions is out of range")
    if body.get("embd_normalize") is not None and not is_int(body["embd_normalize"]):
        raise invalid("embd_normalize must be an integer")
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


def native_embeddings(body: Json, model: str | None) -> Reply:
    """Answer `/embeddings`: each text has a list of vectors, one in all."""
    reply = embeddings({**body, "input": body.get("input", body.get("content"))}, model)
    rows = json.loads(reply.frames[0])["data"]
    return Reply.json([{"index": row["index"], "embedding": [row["embedding"]]} for row in rows])


def rerank(body: Json, model: str | None) -> Reply:
    """Answer `/v1/rerank`: the score is the share of the query's words a document has."""
    query, documents = body.get("query"), body.get("documents", body.get("texts"))
    if not query or not documents or not is_list(documents):
        raise invalid("query and documents are required")
    if body.get("top_n") is not None and body["top_n"] < 1:
        raise invalid("top_n must be at least 1")
    if model is None:
        raise invalid("no reranker model is loaded", "not_implemented", 501)
    if body.get("model") not in (None, model):
        raise invalid(f"model {body['model']!r} is not the served reranker model")
    if body.get("instruction") is not None:
        raise invalid("instruction is for generative rerankers only")
    words = set(str(query).lower().split())
    results = []
    for index, document in enumerate(documents):
        score = len(words & set(str(document).lower().split())) / len(words)
        shown = body.get("return_documents") or body.get("return_text")
        results.append(
            {"index": index, "relevance_score": score} | ({"document": document} if shown else {})
        )
    results.sort(key=lambda result: -result["relevance_score"])
    results = results[: body.get("top_n")]
    if "texts" in body:
        names = {"relevance_score": "score", "document": "text"}
        return Reply.json([{names.get(k, k): v for k, v in one.items()} for one in results])
    count = sum(len(pieces(str(text))) for text in [query, *documents])
    return Reply.json(
        {
            "model": model,
            "object": "list",
            "results": results,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
    )
