"""Texts that are too long to embed: told, or cut by tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.failures import Failure, from_status
from mlxcel_integrations.protocol.vectors.embedding_limits import token_limit
from mlxcel_integrations.protocol.vectors.vector_models import VectorMemory
from tests.protocol.vectors.server import Server, embed, embedded

SPECIAL = 2


def words(text: str) -> int:
    return len(text.split())


def tokenized(body: Any) -> dict[str, Any]:
    """A token is a word; two more begin and end a text. A text of several has none between."""
    contents = body["content"]
    assert isinstance(contents, str)
    return {"tokens": [1] * (words(contents) + SPECIAL * body["add_special"])}


def refusal(tokens: int, limit: int, status: int = 500) -> Failure:
    text = (
        f"input ({tokens} tokens) is too large to process. increase the physical batch size "
        f"(current batch size: {limit})"
    )
    error = json.dumps({"error": {"code": status, "message": text, "type": "server_error"}})
    return from_status(status, {}, error.encode(), "http://h")


class Limited(Server):
    """A server with one model, which refuses longer texts, and tells its window or not."""

    def __init__(self, limit: int, window: int | None = None, **routes: Any) -> None:
        meta = {"meta": {"n_ctx": window}} if window else {}
        routes.setdefault("_v1_models", {"data": [{"id": "m", **meta}]})
        super().__init__(**{"_tokenize": tokenized, "_v1_embeddings": self._embedded, **routes})
        self._limit = limit

    def _embedded(self, body: Any) -> Any:
        longest = max(words(text) + SPECIAL for text in body["input"])
        return embedded(body) if longest <= self._limit else refusal(longest, self._limit)

    def embedded_texts(self) -> list[list[str]]:
        return [body["input"] for body in self.bodies("/v1/embeddings")]


LONG = " ".join(["word"] * 400)
TEXTS = ["short", LONG, "also short"]
TOLD = r"^texts\[1\], 'word word .*', has 402 tokens, but the model embeds at most 300: split it"


def test_a_refusal_becomes_the_index_the_tokens_and_the_limit() -> None:
    server = Limited(300)

    with pytest.raises(MlxcelError, match=TOLD):
        embed(TEXTS, server)
    assert [TEXTS] == server.embedded_texts()


@pytest.mark.parametrize("window", [None, 300])
def test_a_limit_that_is_known_is_told_before_anything_is_sent(window: int | None) -> None:
    server, memory = Limited(300, window), VectorMemory()
    if window is None:
        memory.limits["m"] = 300

    with pytest.raises(MlxcelError, match=TOLD):
        embed(TEXTS, server, memory)
    assert [] == server.embedded_texts()


def test_the_index_is_that_of_the_users_list() -> None:
    with pytest.raises(MlxcelError, match=r"^texts\[4\], "):
        embed(["a", "", "b", "c", LONG, "d"], Limited(300), batch_size=2, skip_empty=True)


@pytest.mark.parametrize("window", [None, 300])
def test_a_text_is_cut_exactly(window: int | None) -> None:
    server, memory = Limited(300, window), VectorMemory()

    for _ in range(2):
        vectors = embed(TEXTS, server, memory, truncate=True)
        assert 3 == len(vectors)
        sent = server.embedded_texts()[-1]
        assert [1, 298, 2] == [words(text) for text in sent]
        assert LONG.startswith(sent[1])
    # Without a window, only the first request is refused.
    assert (2 if window else 3) == len(server.embedded_texts())


def test_a_prefix_counts_too() -> None:
    sent = Limited(300)
    embed([LONG], sent, prefix="query: ", truncate=True)

    assert 298 == words(sent.embedded_texts()[-1][0])
    assert sent.embedded_texts()[-1][0].startswith("query: word")


@pytest.mark.parametrize(("window", "counted"), [(402, True), (4000, False)])
def test_a_text_of_the_greatest_length_is_sent_as_it_is(window: int, counted: bool) -> None:
    server = Limited(window, window)

    embed(TEXTS, server)

    assert [TEXTS] == server.embedded_texts()
    assert counted is bool(server.bodies("/tokenize"))


def test_short_texts_cost_no_request() -> None:
    server = Limited(300, 300)

    embed(["a" * 60, "b"], server, model="m")

    assert ["/v1/embeddings"] == [ask.path for ask in server.asked]


def test_a_server_with_several_models_counts_with_another_tokenizer() -> None:
    """So its own refusal is the error."""
    server = Limited(300, _v1_models={"data": [{"id": "m"}, {"id": "chat"}]})

    with pytest.raises(AssertionError, match="/v1/embeddings answered 500"):
        embed(TEXTS, server, truncate=True)
    assert [] == server.bodies("/tokenize")


def test_a_refusal_that_counts_do_not_explain_is_not_repeated_for_ever() -> None:
    def refused(body: Any) -> Failure:
        return refusal(402, 500)

    server = Limited(300, _v1_embeddings=refused)

    with pytest.raises(AssertionError, match="/v1/embeddings answered 500"):
        embed(TEXTS, server, truncate=True)


def test_a_server_that_knows_no_base64_is_understood_too() -> None:
    def decimal(body: Any) -> Any:
        if "encoding_format" in body:
            return from_status(400, {}, b'{"error": {"message": "no base64"}}', "http://h")
        return server._embedded(body)

    server = Limited(300, _v1_embeddings=decimal)

    embed(TEXTS, server, truncate=True)
    assert [1, 298, 2] == [words(text) for text in server.embedded_texts()[-1]]


def envelope(**error: Any) -> Failure:
    return from_status(400, {}, json.dumps({"error": error}).encode(), "http://h")


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (refusal(9, 8), 8),
        (envelope(type="exceed_context_size_error", n_ctx=512, message="x"), 512),
        (envelope(type="exceed_context_size_error", message="x"), None),
        (envelope(message="`inputs` must have less than 512 tokens. Given: 600"), 512),
        (envelope(message="This model's maximum context length is 8192 tokens"), 8192),
        (envelope(message="batch size: 0"), None),
        (envelope(message="wrong model"), None),
        (Failure("APIConnectionError", "lost"), None),
    ],
)
def test_limits_are_read_from_refusals(failure: Failure, expected: int | None) -> None:
    assert expected == token_limit(failure)
