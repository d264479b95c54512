"""Connection to a server: requests, and what answers teach about it, without any network."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.flow import Call
from mlxcel_integrations.secret import hidden
from mlxcel_integrations.transport.connection import Connection, checked_key
from tests.transport.script import connection, managed

URL = "http://localhost:1"


def answer(model: str | None) -> Any:
    """Return the reader of an answer that is complete."""
    return SimpleNamespace(model=model, prompt_tokens=None)


def told(one: Connection, model: str | None, buffered: bool | None, asked: str = "m") -> list[str]:
    """Return the warnings about an answer."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one.learn({"model": asked}, answer(model), buffered)
    return [str(warning.message) for warning in caught]


# --------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("call", "method", "content"),
    [
        (Call("/health"), "GET", b""),
        (Call("/tokenize", {"content": "ü"}), "POST", '{"content": "ü"}'.encode()),
        (Call("/tokenize", {}), "POST", b"{}"),
    ],
)
def test_a_call_becomes_a_request(call: Call, method: str, content: bytes) -> None:
    one = connection()
    request = one.request(call, one.endpoint, 5.0)

    assert (method, URL + call.path, content) == (request.method, str(request.url), request.content)
    assert "localhost:1" == request.headers["host"]
    assert str(len(content)) == request.headers["content-length"]
    assert "identity" == request.headers["accept-encoding"]


@pytest.mark.parametrize(
    ("options", "timeout", "connecting"),
    [({}, 600.0, 10.0), ({}, 5.0, 5.0), ({"connect_timeout": 2.0}, 600.0, 2.0)],
)
def test_connecting_takes_no_longer_than_its_limit(
    options: dict[str, Any], timeout: float, connecting: float
) -> None:
    one = connection(**options)
    limits = one.request(Call("/health"), one.endpoint, timeout).extensions["timeout"]

    assert {"connect": connecting, "read": timeout, "write": timeout, "pool": timeout} == limits


@pytest.mark.parametrize(
    ("options", "session", "expected"),
    [
        ({}, None, {}),
        ({"api_key": hidden("k")}, None, {"authorization": "Bearer k"}),
        ({"default_headers": {"X-Team": hidden("a")}}, None, {"x-team": "a"}),
        ({"session": "all"}, None, {"x-session-id": "all"}),
        ({"session": "all"}, "this", {"x-session-id": "this"}),
        ({}, "this", {"x-session-id": "this"}),
    ],
)
def test_headers_of_the_user_are_sent(
    options: dict[str, Any], session: str | None, expected: dict[str, str]
) -> None:
    one = connection(**options)
    headers = one.request(Call("/health", session=session), one.endpoint, 5.0).headers
    own = ("authorization", "x-team", "x-session-id")

    assert expected == {name: headers[name] for name in own if name in headers}


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(MlxcelError, match="no key has") as raised:
        checked_key(hidden(key))

    assert key not in str(raised.value)


def test_the_key_of_the_environment_is_taken_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXCEL_API_KEY", "k")
    found, given = checked_key(None), checked_key(hidden("own"))

    assert found is not None
    assert given is not None
    assert ("k", "own") == (found.reveal(), given.reveal())


@pytest.mark.parametrize(
    ("one", "address"),
    [
        (connection(), URL),
        (managed(state="ready"), URL),
        (managed(state="starting"), None),
        (managed(state="ready", alive=False), None),
    ],
    ids=["another server", "ready", "starting", "given back"],
)
def test_only_a_server_that_runs_has_an_address(one: Connection, address: str | None) -> None:
    assert address == one.address


@pytest.mark.parametrize(
    ("one", "kept"),
    [(managed(state="ready"), True), (connection(), False)],
    ids=["managed", "another"],
)
def test_what_is_known_of_slots_is_kept_of_a_server_of_ours_alone(
    one: Connection, kept: bool
) -> None:
    one.line.learn(4)
    one.model = "m"

    one.forget()

    assert (None, kept) == (one.model, one.line.slots_known)


def test_a_closed_connection_refuses_requests() -> None:
    one = connection()
    one.release()

    assert "closed" == one.state
    with pytest.raises(MlxcelError, match="was closed: make a new object"):
        one.request(Call("/health"), one.endpoint, 5.0)


# --------------------------------------------------------------------------- what answers teach


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["a", "a"], 0),
        (["a", None, "a"], 0),
        (["a", "b"], 1),
        (["a", "b", "a"], 1),
        (["a", "b", "c"], 2),
        (["a", "b", "a", "b", "c", "b"], 2),
    ],
)
def test_each_change_to_another_model_is_told_once(models: list[str | None], expected: int) -> None:
    one = connection()
    found = [told(one, model, None) for model in models]

    assert expected == sum(map(len, found))


def test_another_model_is_another_server() -> None:
    one = connection()
    one.model, one.refuses_tools, one.roles.level = "a", True, 2
    one.tokens.route, one.vectors.models = "/apply-template", {"embedding": "v"}
    told(one, "a", None)
    told(one, "b", None)

    assert (None, False, 0) == (one.model, one.refuses_tools, one.roles.level)
    assert (None, {}) == (one.tokens.route, one.vectors.models)


@pytest.mark.parametrize(
    ("served", "answered", "asked", "expected"),
    [
        ("m", "m", "m", 0),
        ("m", "folder/m", "m", 0),
        ("m", "n", "m", 1),
        ("m", "n", "of this call", 0),
        ("m", None, "m", 0),
    ],
)
def test_another_model_than_the_user_named_is_told(
    served: str, answered: str | None, asked: str, expected: int
) -> None:
    found = told(connection(served_model=served), answered, None, asked)

    assert expected == len(found)
    assert all("served_model='m' was asked for" in warning for warning in found)


@pytest.mark.parametrize(
    ("options", "answers", "expected"),
    [
        ({}, [True], 0),
        ({}, [True, True], 1),
        ({}, [True, True, True], 1),
        ({}, [True, False, True], 0),
        ({}, [True, None, True], 1),
        ({"base_url": None, "socket": "/tmp/a.sock"}, [True, True], 0),
    ],
)
def test_a_proxy_that_buffers_twice_in_a_row_is_told_once(
    options: dict[str, Any], answers: list[bool | None], expected: int
) -> None:
    one = connection(**options)
    found = [warning for buffered in answers for warning in told(one, "m", buffered)]

    assert expected == len(found)
    assert all("proxy_buffering off" in warning for warning in found)


def test_a_warning_that_is_an_error_is_raised_once() -> None:
    one = connection(served_model="m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="was asked for"):
            one.learn({"model": "m"}, answer("n"), None)
        one.learn({"model": "m"}, answer("n"), None)
