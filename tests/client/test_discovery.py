"""What the clients find out about a server, and how often they ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from mlxcel_integrations import MlxcelError
from tests.fakes.program import executable
from tests.fakes.server import FakeServer, Reply

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
SERVED = [
    {"id": "vectors", "capabilities": ["embedding"]},
    {"id": "ranks", "capabilities": ["rerank"]},
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "other", "capabilities": ["completion"]},
]


def paths(server: FakeServer) -> list[str]:
    return [seen.path for seen in server.requests]


@BOTH
def test_models_are_listed_with_the_one_that_chats(client: Any, server: FakeServer) -> None:
    assert ["fake-model"] == client.models()
    server.models = SERVED
    assert ["vectors", "ranks", "chat", "other"] == client.models()


@BOTH
def test_the_model_is_asked_for_once(client: Any, server: FakeServer) -> None:
    assert "fake-model" == client.model
    client.chat("hi")
    client.generate("hi")

    assert "fake-model" == client.model
    assert ["fake-model"] * 2 == [seen.json["model"] for seen in server.posts]
    assert 1 == paths(server).count("/v1/models")


def test_a_model_that_generates_is_picked(client: Any, server: FakeServer) -> None:
    server.models = SERVED
    client.chat("hi")

    assert "chat" == client.model == server.posts[0].json["model"]


def test_a_given_name_is_not_asked_for(connect: Any, server: FakeServer) -> None:
    client = connect(served_model="fake-model")
    client.chat("hi")

    assert "fake-model" == client.model == server.posts[0].json["model"]
    assert ["/v1/chat/completions"] == paths(server)


@BOTH
@ON_TCP
def test_a_model_that_the_server_does_not_have_is_told_once(
    connect: Any, server: FakeServer
) -> None:
    """Servers answer with the model they have, whatever name a request gives."""
    client = connect(served_model="other")

    with pytest.warns(UserWarning, match=r"'other' was asked for, but .* 'fake-model'.*models\(\)"):
        client.chat("hi")
    client.chat("hi")
    client.chat("hi", model="third")


@ON_TCP
@pytest.mark.parametrize("name", ["org/fake-model", "/models/Fake-Model.gguf", "fake-model/"])
def test_a_name_may_have_a_folder_and_an_ending(connect: Any, name: str) -> None:
    assert "echo: hi" == connect(served_model=name).chat("hi")


@BOTH
@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_named_model_needs_no_list(connect: Any, server: FakeServer, status: int) -> None:
    """Some gateways have the routes of answers alone."""
    for path in ("/v1/models", "/health", "/props"):
        server.route(path, Reply.plain(status))
    client = connect(served_model="fake-model")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

    assert "echo: hi" == client.chat("hi", tools=[tool])
    assert () == client.features.models
    assert 1 == paths(server).count("/v1/models")


def test_no_model_that_generates_is_told(client: Any, server: FakeServer) -> None:
    server.models = SERVED[:2]

    with pytest.raises(MlxcelError, match=r"serves: vectors, ranks.*served_model="):
        client.chat("hi")
    server.models = SERVED
    assert "echo: hi" == client.chat("hi")


@BOTH
@ON_TCP
@pytest.mark.parametrize("text", ["", "hi", "  früh\n\n日本 語 🎉 ", "\u2028\u0085\x00"])
def test_a_text_is_the_same_after_tokens_and_back(client: Any, text: str) -> None:
    tokens = client.tokenize(text)

    assert text == client.detokenize(tokens)
    assert 1 == len(client.tokenize(text, add_special=True)) - len(tokens)


def test_any_sequence_of_tokens_is_taken(client: Any) -> None:
    tokens = client.tokenize("a b")

    assert "a b" == client.detokenize(tuple(tokens)) == client.detokenize(iter(tokens))


@BOTH
def test_features_are_what_the_server_tells(
    client: Any, server: FakeServer, generation: str
) -> None:
    server.route("/slots", Reply.plain(404))
    features = client.features

    # The older server tells a context only if it was given one.
    context = 4096 if generation == "newest" else None
    assert ("mlxcel", 4, context, True) == (
        features.engine,
        features.slots,
        features.context_size,
        features.tools,
    )
    assert ("mlxcel-0.5.0" if generation == "newest" else None) == features.build
    assert ["fake-model"] == [model.id for model in features.models]


@BOTH
def test_features_are_asked_for_once(client: Any, server: FakeServer) -> None:
    """Also where `/props` is missing, as it is on the older server."""
    assert client.features is client.features
    assert ["/health", "/props", "/v1/models"] == paths(server)


@ON_TCP
@pytest.mark.parametrize(
    "reply",
    [
        Reply.plain(404),
        Reply.plain(405),
        Reply.error(501, "off", "not_supported_error"),
        Reply.plain(503),
        Reply.plain(200, "<html>", "text/html"),
        Reply.plain(200),
        Reply.json(None),
        Reply.json("ok"),
        Reply.json(["ok"]),
    ],
    ids=["404", "405", "501", "503", "HTML", "empty", "null", "text", "list"],
)
def test_missing_routes_are_missing_features(client: Any, server: FakeServer, reply: Reply) -> None:
    server.route("/health", reply)
    server.route("/props", reply)

    assert (None, None) == (client.features.engine, client.features.slots)


@ON_TCP
def test_other_failures_are_told_and_asked_again(client: Any, server: FakeServer) -> None:
    server.route("/props", Reply.error(500, "boom", "server_error"))
    with pytest.raises(openai.InternalServerError, match="boom"):
        _ = client.features
    server.route("/props", Reply.json({"total_slots": 9}))

    assert 9 == client.features.slots


@ON_TCP
@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (Reply.json({"data": "x"}), MlxcelError, "did not return a list of models"),
        (Reply.json({"error": "x"}), MlxcelError, "did not return a list of models"),
        (Reply.json(None), MlxcelError, "did not return a list of models"),
        (Reply.plain(200, "<html>", "text/html"), MlxcelError, "did not return JSON"),
        (Reply.plain(200), MlxcelError, "did not return JSON"),
        (Reply.plain(404), openai.NotFoundError, "address is that of an mlxcel server"),
    ],
    ids=["no list", "no data", "null", "HTML", "empty", "404"],
)
def test_another_kind_of_server_is_told(
    client: Any, server: FakeServer, reply: Reply, error: type[Exception], message: str
) -> None:
    server.route("/v1/models", reply)

    for ask in (lambda: client.models(), lambda: client.chat("hi"), lambda: client.model):
        with pytest.raises(error, match=message):
            ask()


@ON_TCP
@pytest.mark.parametrize(
    "answer", [{}, [], {"tokens": None}, "x"], ids=["empty", "list", "null", "text"]
)
def test_an_answer_of_another_shape_is_told(client: Any, server: FakeServer, answer: Any) -> None:
    server.route("/tokenize", Reply.json(answer))
    server.route("/detokenize", Reply.json(answer))

    with pytest.raises(MlxcelError, match="/tokenize"):
        client.tokenize("hi")
    with pytest.raises(MlxcelError, match="/detokenize"):
        client.detokenize([1])


@ON_TCP
def test_the_model_of_a_managed_server_has_the_name_that_the_server_tells(
    connect: Any, tmp_path: Path
) -> None:
    """Requests for answers need not wait for it: the server takes any name."""
    client = connect(base_url=None, model="owner/chat", binary=executable(tmp_path))

    assert client.chat("hi")
    assert client.models() == [client.model]
    assert client.features.models[0].id == client.model
