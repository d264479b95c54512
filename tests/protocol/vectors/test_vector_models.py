"""Embeddings and reranking: which model is asked, and texts in batches."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.failures import from_status
from mlxcel_integrations.protocol.flow import Gather
from mlxcel_integrations.protocol.vectors.vector_models import BATCH_TOKENS, VectorMemory
from tests.protocol.flows import failure
from tests.protocol.vectors.server import CHATS, Server, embed, rank


def test_the_model_is_found_by_what_it_can_do_once() -> None:
    server, memory = Server(), VectorMemory()
    embed(["a"], server, memory)
    embed(["b"], server, memory)

    assert ["embedder"] * 2 == [body["model"] for body in server.bodies("/v1/embeddings")]
    assert 1 == len(server.bodies("/v1/models"))


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


@pytest.mark.parametrize(
    ("texts", "message"),
    [("abc", "is a single string"), (["a", None], r"texts\[1\] is NoneType"), ([b"a"], "is bytes")],
)
def test_what_is_no_list_of_texts_is_told(texts: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        embed(texts, Server())
    with pytest.raises(MlxcelError, match=message.replace("texts", "documents")):
        rank("q", texts, Server())


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


@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_error_in_listing_the_models_is_told_as_the_server_tells_it(status: int) -> None:
    with pytest.raises(AssertionError, match=f"/v1/models answered {status}"):
        embed(["a"], Server(_v1_models=failure(status)))


def test_a_server_without_such_a_model_is_not_asked_for_vectors() -> None:
    server = Server(_v1_models={"data": [{"id": "a", **CHATS}, {"id": "b", **CHATS}]})

    with pytest.raises(MlxcelError, match=r"\(served: a, b\).* embedding_model="):
        embed(["a"], server)
    with pytest.raises(MlxcelError, match=r"\(served: a, b\).* reranker_model="):
        rank("q", ["a"], server)
    with pytest.raises(MlxcelError, match=r"\(served: none\)"):
        embed(["a"], Server(_v1_models={"data": []}))
    assert {"/v1/models"} == {ask.path for ask in server.asked}


def test_what_the_server_says_about_itself_is_asked_for_once() -> None:
    server, memory = Server(), VectorMemory()
    for _ in range(2):
        embed(["a", "b"], server, memory, batch_size=1)

    assert 1 == len(server.bodies("/props"))


def test_a_missing_route_is_told_once_with_the_advice_that_helps() -> None:
    refused = from_status(501, {}, b'{"error": {"message": "No embedder."}}', "http://h")

    with pytest.raises(MlxcelError) as caught:
        embed(["a"], Server(_v1_embeddings=refused))

    assert (
        "http://h answered 501: No embedder. Embeddings need an embedding model: pass"
        == (str(caught.value)[:76])
    )
