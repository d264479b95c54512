"""Embeddings and reranking, of servers that have models for them and of those that have none."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import servers
from .servers import EMBEDDINGS, RERANK, Json, Server, error, is_text

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "vectors", "capabilities": ["embedding"]},
    {"id": "ranks", "capabilities": ["rerank"]},
]


@pytest.fixture(params=["newest", pytest.param("embedded", marks=pytest.mark.engine)])
def embedder(request: pytest.FixtureRequest, running: Callable[[str], Server]) -> Iterator[Server]:
    """A server that makes vectors: v0.4.2 never does, mlxcel with a second model only."""
    if request.param == "embedded":
        yield running("embedder")
        return
    with servers.scripted("newest", models=MODELS) as server:
        yield server


@pytest.fixture
def ranker() -> Iterator[Server]:
    with servers.scripted("newest", models=MODELS) as server:
        yield server


def numbers(vector: Any) -> list[float]:
    """The numbers of a vector, in little-endian base64 or not."""
    if isinstance(vector, str):
        packed = base64.b64decode(vector)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    return list(vector)


def vectors(server: Server, **fields: Any) -> list[list[float]]:
    return [numbers(row["embedding"]) for row in server.ok(EMBEDDINGS, fields)["data"]]


@pytest.mark.parametrize("path", [EMBEDDINGS, "/embeddings", "/embedding"])
def test_embeddings_need_a_model_for_them(server: Server, path: str) -> None:
    """v0.4.2 has no such route, the others say which flag is missing."""
    response = server.post(path, {"input": "a"})

    expected = server.choose(old=404, newest=501, llama_cpp=501)
    assert expected == response.status_code
    if expected == 501:
        assert error(response)["type"] in ("not_implemented", "not_supported_error")
        assert "--embedding" in error(response)["message"]


@pytest.mark.parametrize("path", [RERANK, "/v1/reranking", "/rerank", "/reranking"])
def test_reranking_needs_a_model_for_it(server: Server, path: str) -> None:
    """llama.cpp needs another model than ours, too."""
    response = server.post(path, {"query": "a", "documents": ["b"]})

    assert server.choose(old=404, newest=501, llama_cpp=501) == response.status_code


@pytest.mark.parametrize(
    ("body", "newest", "llama_cpp"),
    [
        ({}, 400, 400),
        ({"input": None}, 400, 400),
        ({"input": 5}, 400, 400),
        ({"input": []}, 400, 400),
        ({"input": ""}, 400, 200),  # llama.cpp: the vector of no text
        ({"input": ["a", ""]}, 400, 200),
        ({"input": [[]]}, 400, 400),
        ({"input": "a", "encoding_format": "float"}, 200, 200),
        ({"input": "a", "encoding_format": "hex"}, 400, 400),
        ({"input": "a", "dimensions": 1}, 200, 200),
        # llama.cpp ignores what it does not do.
        ({"input": "a", "dimensions": 0}, 400, 200),
        ({"input": "a", "dimensions": 100_000}, 400, 200),
        ({"input": "a", "model": "other"}, 400, 200),
        ({"input": "a", "embd_normalize": -1}, 200, 200),
        ({"input": "a", "embd_normalize": "x"}, 400, 400),
        ({"input": "a", "user": "me", "instruction": "Find:"}, 200, 200),
        ({"input": [{"type": "text", "text": "a"}]}, 200, 400),
        ({"input": [{"type": "image_url", "image_url": {"url": "a"}}]}, 400, 400),
    ],
    ids=repr,
)
def test_what_embeddings_take(embedder: Server, body: Json, newest: int, llama_cpp: int) -> None:
    """All refusals are JSON here."""
    response = embedder.post(EMBEDDINGS, body)

    assert embedder.choose(old=None, newest=newest, llama_cpp=llama_cpp) == response.status_code
    if response.status_code == 400:
        assert "invalid_request_error" == error(response)["type"]


def test_what_is_no_request_is_told_before_the_missing_model(scripted: Server) -> None:
    """The shape is looked at first, the values after the model."""
    bad = {"input": "a", "encoding_format": "hex"}

    statuses = [scripted.post(EMBEDDINGS, body).status_code for body in ({}, bad)]

    assert scripted.choose(old=[404, 404], newest=[400, 501]) == statuses


def test_each_text_has_a_row_of_the_answer(embedder: Server) -> None:
    """One row for each text, in their order, and the tokens that they had."""
    answer = embedder.ok(EMBEDDINGS, {"input": ["red fox", "blue whale", "red fox"]})
    rows = answer["data"]

    assert "list" == answer["object"]
    assert [0, 1, 2] == [row["index"] for row in rows]
    assert {"embedding"} == {row["object"] for row in rows}
    # What is computed together differs in its last digits.
    assert pytest.approx(rows[0]["embedding"], abs=0.02) == rows[2]["embedding"]
    assert pytest.approx(rows[0]["embedding"], abs=0.02) != rows[1]["embedding"]
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_both_encodings_are_the_same_numbers(embedder: Server) -> None:
    """base64 packs them with the lowest byte first."""
    (plain,) = vectors(embedder, input="a")
    (packed,) = vectors(embedder, input="a", encoding_format="base64")

    assert pytest.approx(plain, abs=1e-3) == packed


def test_texts_can_be_tokens(embedder: Server) -> None:
    """A list of numbers is one text, a list of lists are several."""
    assert 1 == len(vectors(embedder, input=[1, 2]))
    assert 2 == len(vectors(embedder, input=[[1], [2]]))


def test_fewer_dimensions_are_the_first_of_them(ranker: Server) -> None:
    """llama.cpp always sends all."""
    (whole,), (few,) = vectors(ranker, input="a"), vectors(ranker, input="a", dimensions=2)

    assert (8, 2) == (len(whole), len(few))


@pytest.mark.parametrize("name", ["input", "content"])
@pytest.mark.parametrize("path", ["/embeddings", "/embedding"])
def test_a_route_without_a_version_answers_as_llama_cpp(
    embedder: Server, path: str, name: str
) -> None:
    """Without a version in its path, a route answers in the form of llama.cpp."""
    (row,) = embedder.ok(path, {name: "a"})

    assert {"index", "embedding"} == row.keys()
    (vector,) = row["embedding"]
    assert pytest.approx(vectors(embedder, input="a")[0], abs=1e-3) == vector


@pytest.mark.parametrize("path", [EMBEDDINGS, "/embedding", RERANK])
@pytest.mark.parametrize(
    ("state", "status", "kind"), [("busy", 503, "server_busy"), ("stuck", 504, "server_timeout")]
)
def test_a_worker_that_cannot_answer_says_why(
    ranker: Server, path: str, state: str, status: int, kind: str
) -> None:
    """A full queue and a worker that takes too long are told apart."""
    setattr(ranker.fake, state, True)
    body = {"query": "a", "documents": ["b"], "input": "a"}

    response = ranker.post(path, body)

    assert (status, kind) == (response.status_code, error(response)["type"])


DOCUMENTS = ["a whale", "the red fox", "a fox"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"documents": DOCUMENTS}, 400),
        ({"query": "fox"}, 400),
        ({"query": "fox", "documents": []}, 400),
        ({"query": "fox", "documents": "a fox"}, 400),
        ({"query": 5, "documents": DOCUMENTS}, 400),
        ({"query": "", "documents": DOCUMENTS}, 400),
        ({"query": "fox", "documents": ["a", ""]}, 400),
        ({"query": {"text": "fox"}, "documents": [{"text": "a fox"}]}, 200),
        ({"query": "fox", "documents": [{"image_url": {"url": "a"}}]}, 400),
        ({"query": "fox", "documents": DOCUMENTS, "top_n": 0}, 400),
        ({"query": "fox", "documents": DOCUMENTS, "top_n": -1}, 400),
        ({"query": "fox", "documents": DOCUMENTS, "top_n": 9}, 200),
        ({"query": "fox", "documents": DOCUMENTS, "model": "ranks"}, 200),
        ({"query": "fox", "documents": DOCUMENTS, "model": "chat"}, 400),
        ({"query": "fox", "documents": DOCUMENTS, "instruction": "Find:"}, 400),
    ],
    ids=repr,
)
def test_what_reranking_takes(ranker: Server, body: Json, status: int) -> None:
    """Only a generative reranker takes an instruction, which this one is not."""
    response = ranker.post(RERANK, body)

    assert status == response.status_code
    assert not is_text(response)


def test_the_best_rank_comes_first(ranker: Server) -> None:
    """The best comes first, equal ones in their order, and scores are from 0 to 1."""
    documents = [*DOCUMENTS, "a fox"]
    answer = ranker.ok(RERANK, {"query": "red fox", "documents": documents, "top_n": 3})
    results = answer["results"]

    assert ("ranks", "list") == (answer["model"], answer["object"])
    assert [1, 2, 3] == [result["index"] for result in results]
    assert all(0 <= result["relevance_score"] <= 1 for result in results)
    assert not any("document" in result for result in results)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("name", ["return_documents", "return_text"])
def test_documents_come_back_on_demand(ranker: Server, name: str) -> None:
    """As they were sent."""
    body = {"query": "red", "documents": DOCUMENTS, "top_n": 1, name: True}

    (result,) = ranker.ok(RERANK, body)["results"]

    assert "the red fox" == result["document"]


@pytest.mark.parametrize("path", [RERANK, "/rerank"])
def test_texts_ask_for_the_shorter_form(ranker: Server, path: str) -> None:
    """The word decides, not the route: a list of scores and nothing around it."""
    body = {"query": "red", "texts": DOCUMENTS, "top_n": 1, "return_text": True}

    assert [{"index": 1, "score": 1.0, "text": "the red fox"}] == ranker.ok(path, body)
