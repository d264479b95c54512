"""Embeddings: the requests, and what is made of the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.vectors.vector_models import VectorMemory
from tests.protocol.flows import failure
from tests.protocol.vectors.server import Server, embed, embedded, vector


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
    with pytest.raises(MlxcelError, match=rf"did not return 2 vectors, .* {advice}\.$"):
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


def test_a_route_that_is_gone_says_so_in_whatever_form_it_is_asked() -> None:
    """Another server, without a model for embeddings, may have taken the place of the first."""
    memory = VectorMemory()
    memory.base64 = False

    with pytest.raises(MlxcelError, match=r"^Gone\. .* embedding_model="):
        embed(["a"], Server(_v1_embeddings=failure(404, "Gone.")), memory)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"dimensions": 0}])
def test_sizes_that_no_vectors_have_are_told_before_anything_is_sent(
    options: dict[str, Any],
) -> None:
    server = Server()
    with pytest.raises(MlxcelError, match=r"^(batch_size|dimensions)=0 must be at least 1"):
        embed(["a"], server, **options)

    assert [] == server.asked
