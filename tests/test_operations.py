"""Operations: what each asks a server, and what it remembers of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError, operations
from mlxcel_integrations.protocol.flow import Call, Flow
from mlxcel_integrations.transport.connection import Connection
from tests.protocol.flows import drive, failure
from tests.transport.script import connection

MODELS = {
    "data": [
        {"id": "vectors", "capabilities": ["embedding"]},
        {"id": "words", "capabilities": ["completion"], "meta": {"n_ctx": 100}},
    ]
}
SERVER = {
    "/health": {"status": "ok"},
    "/props": {"build_info": "b1", "total_slots": 2},
    "/v1/models": MODELS,
    "/tokenize": {"tokens": [5, 6]},
    "/detokenize": {"content": "hi"},
}
HI = [{"role": "user", "content": "hi"}]


class Asked:
    """A server that answers from a table, and the paths that it was asked for."""

    def __init__(self, **answers: Any) -> None:
        self.answers: Mapping[str, Any] = {**SERVER, **answers}
        self.paths: list[str] = []

    def run(self, flow: Flow[Any]) -> Any:
        return drive(flow, self._answer)

    def _answer(self, call: Call) -> Any:
        self.paths.append(call.path)
        return self.answers[call.path]


@pytest.mark.parametrize(
    ("operation", "expected", "paths"),
    [
        (lambda _: operations.list_models(), ["vectors", "words"], ["/v1/models"]),
        (operations.discover_model, "words", ["/v1/models"]),
        (lambda _: operations.tokenize("hi", add_special=False), [5, 6], ["/tokenize"]),
        (lambda _: operations.detokenize([5, 6]), "hi", ["/detokenize"]),
        (lambda one: operations.count_tokens(one, "hi"), 2, ["/tokenize"]),
    ],
    ids=["models", "model", "tokenize", "detokenize", "count"],
)
def test_an_operation_asks_for_what_it_needs(
    operation: Callable[[Connection], Flow[Any]], expected: Any, paths: list[str]
) -> None:
    server = Asked()

    assert expected == server.run(operation(connection()))
    assert paths == server.paths


@pytest.mark.parametrize(
    ("options", "sampling", "model", "paths"),
    [
        ({"served_model": "given"}, {}, "given", []),
        ({}, {"model": "of this call"}, "of this call", []),
        ({}, {}, "words", ["/v1/models"]),
    ],
)
def test_the_model_is_discovered_unless_it_is_named(
    options: dict[str, Any], sampling: dict[str, Any], model: str, paths: list[str]
) -> None:
    server, one = Asked(), connection(**options)
    requests = [server.run(operations.prepare_chat(one, HI, sampling)) for _ in range(2)]

    assert [model] * 2 == [request.body["model"] for request in requests]
    assert paths == server.paths


def test_a_short_chat_needs_no_features() -> None:
    server, one = Asked(), connection(served_model="m")
    server.run(operations.prepare_chat(one, HI, {"temperature": 0.5}))

    assert [] == server.paths


def test_a_long_chat_asks_once_whether_the_server_would_cut_it() -> None:
    server, one = Asked(), connection(served_model="m")
    long = [{"role": "user", "content": "word " * 1000}]
    for _ in range(2):
        server.run(operations.prepare_chat(one, long, {}))

    assert ["/health", "/props", "/v1/models"] == server.paths


def test_features_of_a_busy_server_are_discovered_again() -> None:
    busy, one = Asked(**{"/props": failure(503)}), connection()
    assert busy.run(operations.discover_features(one)).slots is None

    assert 2 == Asked().run(operations.discover_features(one)).slots


def test_a_server_that_has_refused_tools_has_none_from_then_on() -> None:
    one = connection()
    one.refuses_tools = True

    assert Asked().run(operations.discover_features(one)).tools is False


@pytest.mark.parametrize("listing", [failure(404), failure(405)])
def test_a_gateway_without_a_list_of_models_needs_a_named_one(listing: Any) -> None:
    gateway = Asked(**{"/v1/models": listing})

    assert "m" == gateway.run(operations.discover_model(connection(served_model="m")))
    assert () == gateway.run(operations.discover_features(connection(served_model="m"))).models
    with pytest.raises(AssertionError, match="/v1/models answered"):
        gateway.run(operations.discover_model(connection()))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "no messages"),
        ([{"role": "user", "content": " "}], "All messages are empty"),
        ([{"role": "tool", "tool_call_id": "x", "content": "5"}], "no message before it makes"),
    ],
)
def test_a_conversation_that_no_server_answers_is_refused(
    messages: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        Asked().run(operations.prepare_chat(connection(served_model="m"), messages, {}))


def test_a_name_like_a_known_one_is_warned_about_once() -> None:
    one = connection(served_model="m")
    # The warning comes once in a process, so no other test uses this name.
    with pytest.warns(UserWarning, match="did you mean 'temperature'"):
        Asked().run(operations.prepare_chat(one, HI, {"temperatuer": 1}))
    request = Asked().run(operations.prepare_chat(one, HI, {"temperatuer": 1}))

    assert 1 == request.body["temperatuer"]
