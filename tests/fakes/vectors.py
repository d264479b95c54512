"""Embeddings and reranking as the newest server answers them, without a model."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from base64 import b64encode
from typing import Any

from tests.fakes.answers import Json
from tests.fakes.checks import (
    invalid,
    is_int,
    is_list,
    is_object,
    is_string,
    is_strings,
    is_uint,
    is_uints,
    member,
)
from tests.fakes.replies import Reply
from tests.fakes.text import pieces

DIMENSIONS = 8
MISSING = ("not_implemented", 501)


def vector(item: object, size: int = DIMENSIONS) -> list[float]:
    """A unit vector that depends on the item alone."""
    digest = hashlib.sha256(repr(item).encode()).digest()
    values = [byte / 255 - 0.5 for byte in digest[:size]]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def embeddings(body: Json, model: str | None) -> Reply:
    """Answer `/v1/embeddings`; `model` is the served embedding model, if there is one."""
    items = embedding_items(body)
    if model is None:
        raise invalid("no embedding model: start it with --embedding-model", *MISSING)
    check_model(body, model, "embedding model")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise invalid("encoding_format must be float or base64")
    size = DIMENSIONS if body.get("dimensions") is None else body["dimensions"]
    if not 1 <= size <= DIMENSIONS:
        raise invalid("dimensions is out of range")
    if not items or not all(items):
        raise invalid("input must not be empty")
    if any(is_object(item) for item in items):
        raise invalid("the loaded embedding model does not accept images")
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


def embedding_items(body: Json) -> list[Any]:
    """What is to be embedded: texts, lists of tokens, or images; the wrong shape is refused."""
    for name, check in {"dimensions": is_uint, "embd_normalize": is_int}.items():
        if body.get(name) is not None and not check(body[name]):
            raise invalid(f"invalid request body: {name}")
    given = body.get("input")
    if is_string(given) or (given and is_uints(given)):
        return [given]
    if is_strings(given) or (is_list(given) and all(map(is_uints, given))):
        return list(given)
    if not is_list(given) or not all(member(part, "type") for part in given):
        raise invalid('"input" or "content" must be provided, as text or tokens')
    return [part["text"] if part["type"] == "text" else part for part in given]


def check_model(body: Json, model: str, kind: str) -> None:
    if body.get("model") not in (None, model):
        raise invalid(f"model `{body['model']}` is not the served {kind} `{model}`")


def native_embeddings(body: Json, model: str | None) -> Reply:
    """Answer `/embeddings`: each text has a list of vectors, one in all."""
    reply = embeddings({**body, "input": body.get("input", body.get("content"))}, model)
    rows = json.loads(reply.frames[0])["data"]
    return Reply.json([{"index": row["index"], "embedding": [row["embedding"]]} for row in rows])


def rerank(body: Json, model: str | None) -> Reply:
    """Answer `/v1/rerank`: the score is the share of the query's words a document has."""
    query, documents = body.get("query"), body.get("documents", body.get("texts"))
    if not is_string(query) and not is_object(query):
        raise invalid('"query" must be a string')
    if not documents or not is_list(documents):
        raise invalid('"documents" must be a non-empty string array')
    top = body.get("top_n")
    if top is not None and not is_uint(top):
        raise invalid("invalid request body: top_n")
    if model is None:
        raise invalid("no reranker model: start it with --reranker-model", *MISSING)
    check_model(body, model, "reranker")
    if top == 0:
        raise invalid("top_n must be at least 1")
    if body.get("instruction"):
        raise invalid("instruction is for generative rerankers only")
    texts = [item_text(item) for item in [query, *documents]]
    words = set(texts[0].lower().split())
    shown = body.get("return_documents") or body.get("return_text")
    results = [
        {"index": index, "relevance_score": len(words & set(text.lower().split())) / len(words)}
        | ({"document": documents[index]} if shown else {})
        for index, text in enumerate(texts[1:])
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    results = results[:top]
    if "documents" not in body:
        names = {"relevance_score": "score", "document": "text"}
        return Reply.json([{names.get(k, k): v for k, v in one.items()} for one in results])
    count = sum(len(pieces(text)) for text in texts)
    return Reply.json(
        {
            "model": model,
            "object": "list",
            "results": results,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
    )


def item_text(item: Any) -> str:
    """The text of a query or a document, which may stand in an object."""
    if is_object(item) and ("image" in item or "image_url" in item):
        raise invalid("the loaded reranker does not accept images")
    text = member(item, "text") if is_object(item) else item
    if not isinstance(text, str) or not text:
        raise invalid("an item carries neither text nor an image")
    return text
