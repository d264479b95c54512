"""Embeddings and reranking: what is asked, and what is made of the answers."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations import MlxcelError, RankedDocument
from mlxcel_integrations.protocol.embeddings import (
    BATCH_TOKENS,
    VectorMemory,
    embed_texts,
    rerank_documents,
)
from mlxcel_integrations.protocol.features import ServedModel, choose_capable
from mlxcel_integrations.protocol.flow import Call, Gather
from tests.protocol.flows import drive, failure

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


@given(
    st.lists(st.text(min_size=1, max_size=20)),
    st.integers(1, 5),
    st.booleans(),
    st.text(max_size=3),
)
def test_each_text_gets_its_own_vector(
    texts: list[str], size: int, knows_base64: bool, prefix: str
) -> None:
    def answer(body: Any) -> Any:
        return embedded(body) if knows_base64 or len(body) == 2 else failure(400)

    done: list[int] = []
    server = Server(**{"_v1_embeddings": answer})

    vectors = embed(texts, server, batch_size=size, prefix=prefix, done=done.append)

    assert [vector(prefix + text) for text in texts] == vectors
    assert len(texts) == sum(done)
    assert all(len(body["input"]) <= size for body in server.bodies("/v1/embeddings"))


def test_the_model_is_found_by_what_it_can_do_once() -> None:
    server, memory = Server(), VectorMemory()
    embed(["a"], server, memory)
    embed(["b"], server, memory)

    assert ["embedder"] * 2 == [body["model"] for body in server.bodies("/v1/embeddings")]
    assert 1 == len(server.bodies("/v1/models"))


@pytest.mark.parametrize(
    ("models", "preferred", "expected"),
    [
        ([("chat", ["completion"]), ("e", ["embedding"])], None, "e"),
        ([("chat", ["completion"]), ("e", ["embedding"])], "chat", "e"),
        ([("e", ["embedding"]), ("f", ["completion", "embedding"])], "f", "f"),
        ([("silent", []), ("e", ["embedding"])], "silent", "e"),
        ([("silent", []), ("other", [])], "other", "other"),
        ([("chat", ["completion"])], "chat", None),
        ([], None, None),
    ],
)
def test_the_model_that_is_taken(
    models: list[tuple[str, list[str]]], preferred: str | None, expected: str | None
) -> None:
    served = [ServedModel(name, tuple(able)) for name, able in models]

    assert expected == choose_capable(served, "embedding", preferred)


def test_the_preferred_model_is_asked_if_it_can() -> None:
    two = [{"id": name, "capabilities": ["embedding"]} for name in ("first", "second")]
    server = Server(_v1_models={"data": two})
    embed(["a"], server, VectorMemory("second"))

    assert ["second"] == [body["model"] for body in server.bodies("/v1/embeddings")]


def test_a_model_that_is_named_is_not_looked_for() -> None:
    server = Server()
    embed(["a"], server, model="mine")
    rank("q", ["a"], server, model="mine")

    assert ["/v1/embeddings", "/v1/rerank"] == [ask.path for ask in server.asked]
    assert ["mine", "mine"] == [ask.body and ask.body["model"] for ask in server.asked]


def test_long_texts_make_batches_smaller_and_the_longest_goes_alone() -> None:
    server = Server()
    half, whole = "x" * (BATCH_TOKENS * 3 // 2 - 1), "日" * BATCH_TOKENS * 2
    embed([whole, half, half, half, half, "a", whole, "b"], server)

    sent = [body["input"] for body in server.bodies("/v1/embeddings")][::-1]
    assert [[whole], [half, half], [half, half], ["a"], [whole], ["b"]] == sent


@pytest.mark.parametrize(
    ("props", "count", "expected"),
    [
        ({"total_slots": 2}, 5, 2),
        ({"total_slots": 8}, 3, 3),
        ({"total_slots": 0}, 5, 4),
        ({}, 5, 4),
        (["props"], 5, 4),
        (failure(403), 5, 4),
    ],
)
def test_as_many_batches_wait_at_once_as_the_server_has_slots(
    props: Any, count: int, expected: int
) -> None:
    at_once: list[int] = []

    def note(together: Gather) -> None:
        at_once.append(together.at_once)

    embed(["a"] * count, Server(_props=props), batch_size=1, together=note)

    assert [expected] == at_once


def test_what_a_server_refuses_is_asked_for_in_floats_and_this_is_remembered() -> None:
    def no_base64(body: Any) -> Any:
        return failure(400) if "encoding_format" in body else embedded(body)

    server, memory = Server(**{"_v1_embeddings": no_base64}), VectorMemory()
    assert [vector("a")] == embed(["a"], server, memory)
    assert [vector("b")] == embed(["b"], server, memory)

    forms = [body.get("encoding_format") for body in server.bodies("/v1/embeddings")]
    assert ["base64", None, None] == forms


def test_a_request_that_is_refused_in_both_forms_says_nothing_of_the_form() -> None:
    memory = VectorMemory()
    with pytest.raises(AssertionError, match="/v1/embeddings answered 400"):
        embed(["a"], Server(**{"_v1_embeddings": failure(400)}), memory)

    assert memory.base64 is None


def test_a_server_that_has_sent_base64_is_not_asked_for_floats() -> None:
    server, memory = Server(), VectorMemory()
    embed(["a"], server, memory)
    refusing = Server(**{"_v1_embeddings": failure(400)})

    with pytest.raises(AssertionError, match="/v1/embeddings answered 400"):
        embed(["b"], refusing, memory)
    assert ["base64"] == [body["encoding_format"] for body in refusing.bodies("/v1/embeddings")]


def test_newlines_and_spaces_are_sent_as_they_are() -> None:
    server = Server()
    texts = ["  a\n\n", "\n", "\t"]
    embed(texts, server)

    assert texts == server.bodies("/v1/embeddings")[0]["input"]


def test_an_empty_text_is_told_by_its_index_before_anything_is_sent() -> None:
    server = Server()
    with pytest.raises(MlxcelError, match=r"texts\[1\] is empty.* pass skip_empty=True for zeros "):
        embed(["a", "", "b"], server, prefix="query: ")

    assert [] == server.asked


@pytest.mark.parametrize("texts", [["a", "", "bb"], [""], ["", ""], []])
def test_empty_texts_get_zeros_on_demand(texts: list[str]) -> None:
    done: list[int] = []
    expected = [vector(text) if text else [0.0] * 3 for text in texts]

    assert expected == embed(texts, Server(), skip_empty=True, done=done.append)
    assert len(texts) == sum(done)


@pytest.mark.parametrize(
    ("texts", "message"),
    [("abc", "is one text"), (["a", None], r"texts\[1\] is NoneType"), ([b"a"], "is bytes")],
)
def test_what_is_no_list_of_texts_is_told(texts: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        embed(texts, Server())
    with pytest.raises(MlxcelError, match=message.replace("texts", "documents")):
        rank("q", texts, Server())


ROW = [1.0, 2.0]
BAD_ANSWERS = [
    [],
    {},
    {"data": None},
    {"data": [{"index": 0, "embedding": ROW}]},
    {"data": [{"index": 0, "embedding": ROW}] * 2},
    {"data": [{"index": 1, "embedding": ROW}, {"index": 2, "embedding": ROW}]},
    {"data": [{"index": 0, "embedding": ROW}, {"embedding": ROW}]},
    {"data": [{"index": 0, "embedding": ROW}, {"index": 1, "embedding": [1.0, None]}]},
    {"data": [{"index": 0, "embedding": [ROW]}, {"index": 1, "embedding": [ROW]}]},
    {"data": [{"index": 0, "embedding": "AAAA!"}, {"index": 1, "embedding": "AAAAAAA="}]},
]


@pytest.mark.parametrize("answer", BAD_ANSWERS, ids=json.dumps)
def test_an_answer_that_is_not_one_vector_for_each_text_is_told(answer: Any) -> None:
    advice = "Check that the address is .* one vector for a text"
    with pytest.raises(MlxcelError, match=rf"did not answer 2 vectors, .* {advice}\.$"):
        embed(["a", "b"], Server(**{"_v1_embeddings": answer}))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0], [1.0, 2.0]], r"of 1 and 2 numbers, which cannot be .* serves embeddings\.$"),
        ([[], []], "vectors of 0 numbers"),
        ([[1.0], [float("nan")]], r"^The server .* infinite or undefined: .* Try another one\.$"),
        ([[1.0], [float("-inf")]], "infinite or undefined"),
    ],
)
def test_vectors_that_no_database_can_take_are_told(rows: list[Any], message: str) -> None:
    data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]

    with pytest.raises(MlxcelError, match=message):
        embed(["a", "b"], Server(**{"_v1_embeddings": {"data": data}}))


def test_vectors_of_another_length_than_asked_for_are_told() -> None:
    """llama.cpp ignores what it does not know."""
    server = Server()
    assert 3 == len(embed(["a"], server, dimensions=3)[0])
    assert 3 == server.bodies("/v1/embeddings")[0]["dimensions"]
    with pytest.raises(
        MlxcelError, match=r"dimensions=2 .* 3 numbers: .* Leave dimensions= out\.$"
    ):
        embed(["a"], Server(), dimensions=2)


def test_an_instruction_is_not_given_to_who_would_ignore_it() -> None:
    server = Server()
    embed(["a"], server, instruction="Find it.")
    assert "Find it." == server.bodies("/v1/embeddings")[0]["instruction"]

    advice = r"^instruction= needs mlxcel.* put the instruction in front of the text"
    with pytest.raises(MlxcelError, match=advice):
        embed(["a"], Server(_props={"build_info": "b1-x"}), instruction="Find it.")
    with pytest.raises(MlxcelError, match=advice):
        rank("q", ["a"], Server(_props={"build_info": "b1-x"}), instruction="Find it.")


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(
    ("path", "flag"),
    [("_v1_embeddings", "embedding_model="), ("_v1_rerank", "reranker_model=")],
)
def test_a_missing_route_says_which_flag_is_missing(path: str, flag: str, status: int) -> None:
    server = Server(**{path: failure(status, "The server answered so.")})

    with pytest.raises(MlxcelError, match=rf"^The server answered so\. .* {flag}"):
        _ = embed(["a"], server), rank("q", ["a"], server)
    assert 1 == len(server.bodies(path.replace("_", "/")))


def test_a_route_that_is_gone_says_so_in_whatever_form_it_is_asked() -> None:
    """Another server, without a model for embeddings, may have taken the place of the first."""
    memory = VectorMemory()
    memory.base64 = False

    with pytest.raises(MlxcelError, match=r"^Gone\. .* embedding_model="):
        embed(["a"], Server(_v1_embeddings=failure(404, "Gone.")), memory)


@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_error_in_listing_the_models_is_told_as_the_server_tells_it(status: int) -> None:
    with pytest.raises(AssertionError, match=f"/v1/models answered {status}"):
        embed(["a"], Server(_v1_models=failure(status)))


def test_a_server_without_such_a_model_is_not_asked_for_vectors() -> None:
    server = Server(_v1_models={"data": [{"id": "a", **CHATS}, {"id": "b", **CHATS}]})

    with pytest.raises(MlxcelError, match=r"\(there are: a, b\).* embedding_model="):
        embed(["a"], server)
    with pytest.raises(MlxcelError, match=r"\(there are: a, b\).* reranker_model="):
        rank("q", ["a"], server)
    with pytest.raises(MlxcelError, match=r"\(there are: none\)"):
        embed(["a"], Server(_v1_models={"data": []}))
    assert {"/v1/models"} == {ask.path for ask in server.asked}


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
    with pytest.raises(MlxcelError, match="/v1/rerank did not answer 2 scores"):
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


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"dimensions": 0}])
def test_sizes_that_no_vectors_have_are_told_before_anything_is_sent(
    options: dict[str, Any],
) -> None:
    server = Server()
    with pytest.raises(MlxcelError, match=r"^(batch_size|dimensions)=0: it is at least 1"):
        embed(["a"], server, **options)

    assert [] == server.asked
