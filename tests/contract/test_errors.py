"""Errors that are the same on many routes: keys, routes, bodies, queues, lost models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from . import servers
from .servers import (
    CHAT,
    COMPLETIONS,
    KEY,
    Json,
    Server,
    ask,
    client,
    error,
    is_text,
)


@pytest.mark.parametrize(
    ("headers", "old", "newest", "llama_cpp"),
    [
        ({}, "missing_api_key", "authentication_error", "authentication_error"),
        ({"Authorization": "Bearer x"}, "invalid_api_key", *["authentication_error"] * 2),
        ({"Authorization": f"Bearer {KEY}"}, None, None, None),
        ({"Authorization": KEY}, None, None, None),
        ({"X-Api-Key": KEY}, "missing_api_key", None, None),
        ({"X-Api-Key": KEY, "Authorization": "Bearer x"}, "invalid_api_key",
         *["authentication_error"] * 2),
    ],
    ids=repr,
)  # fmt: skip
def test_a_missing_key_and_a_wrong_one_are_refused(
    server: Server, headers: dict[str, str], old: Any, newest: Any, llama_cpp: Any
) -> None:
    """A missing key and a wrong one are told apart by v0.4.2 only."""
    with client(server.url, key=None) as stranger:
        response = stranger.get("/v1/models", headers=headers)

    kind = server.choose(old=old, newest=newest, llama_cpp=llama_cpp)
    assert (401 if kind else 200) == response.status_code
    if kind:
        assert kind == error(response)["type"]
        code = server.choose(old=None, newest=401, llama_cpp=401)
        assert code == error(response)["code"]


@pytest.mark.parametrize("path", ["/tokenize", CHAT, "/apply-template", "/no-such-route"])
def test_every_other_route_needs_the_key(server: Server, path: str) -> None:
    """It is looked at before anything else."""
    with client(server.url, key=None) as stranger:
        assert 401 == stranger.post(path, json={}).status_code


@pytest.mark.parametrize("key", ["one", "two"])
def test_a_server_may_take_several_keys(key: str) -> None:
    """Newest takes a list of them."""
    with servers.scripted("newest") as server:
        server.fake.api_key = "one,two"
        with client(server.url, key) as user:
            assert 200 == user.get("/v1/models").status_code


def test_a_server_without_a_key_takes_any(scripted: Server) -> None:
    """And none."""
    scripted.fake.api_key = None

    for key in ("any", None):
        with client(scripted.url, key) as user:
            assert 200 == user.get("/v1/models").status_code


def test_a_prefix_is_above_every_route() -> None:
    """Its health needs the key, since it is not the path that is public."""
    with servers.scripted("newest") as server, client(server.url, key=None) as stranger:
        server.fake.api_prefix = "/api"
        found = [server.get(path).status_code for path in ("/api/v1/models", "/v1/models")]
        health = [stranger.get(path).status_code for path in ("/api/health", "/health")]

    assert [200, 404] == found
    assert [401, 404] == health


@pytest.mark.parametrize(
    ("method", "path", "old", "newest", "llama_cpp"),
    [
        ("GET", "/no-such-route", 404, 404, 404),
        ("POST", "/v1/no-such-route", 404, 404, 404),
        # llama.cpp does not tell a wrong method from a wrong path.
        ("GET", CHAT, 405, 405, 404),
        ("GET", "/tokenize", 405, 405, 404),
        ("POST", "/health", 405, 405, 404),
        ("POST", "/v1/models", 405, 405, 404),
    ],
)
def test_what_there_is_not(
    server: Server, method: str, path: str, old: int, newest: int, llama_cpp: int
) -> None:
    """Unknown paths and wrong methods are answered with nothing; llama.cpp says it in JSON."""
    response = server.http.request(method, path)

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code
    if server.dialect == "llama.cpp":
        assert "not_found_error" == error(response)["type"]
    else:
        assert b"" == response.content


@pytest.mark.parametrize("path", ["/tools", "/cors-proxy"])
def test_what_newest_never_does(server: Server, path: str) -> None:
    """It refuses them, as llama.cpp does without a flag; v0.4.2 does not know them."""
    response = server.get(path)

    assert server.choose(old=404, newest=403, llama_cpp=403) == response.status_code
    if response.status_code == 403:
        assert "feature_disabled" == error(response)["type"]


def test_sound_needs_a_model_for_it(server: Server) -> None:
    """llama.cpp has no such route."""
    response = server.post("/v1/audio/speech", {"model": "any", "input": "x"})

    assert server.choose(old=501, newest=501, llama_cpp=404) == response.status_code


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize"])
@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{nope", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"temperature": NaN}', "application/json", 400),
        (b"[]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
    ],
    ids=repr,
)
def test_bodies_that_are_no_request_are_refused_in_plain_text(
    scripted: Server, path: str, content: bytes, kind: str, status: int
) -> None:
    """They are told in plain text."""
    headers = {"Content-Type": kind} if kind else {}

    response = scripted.http.post(path, content=content, headers=headers)

    assert status == response.status_code
    assert is_text(response)


@pytest.mark.parametrize("content", [b"{nope", b"\xff", b'{"temperature": NaN}'], ids=repr)
def test_bodies_that_are_no_json_are_refused(server: Server, content: bytes) -> None:
    """Every server refuses them; llama.cpp in JSON."""
    response = server.http.post(CHAT, content=content, headers={"Content-Type": "application/json"})

    assert 400 == response.status_code
    assert server.choose(old=True, newest=True, llama_cpp=False) == is_text(response)


def test_a_body_of_another_type_is_refused(server: Server) -> None:
    """llama.cpp does not look at the type."""
    body = json.dumps(ask(max_tokens=1))

    response = server.http.post(CHAT, content=body, headers={"Content-Type": "text/plain"})

    assert server.choose(old=415, newest=415, llama_cpp=200) == response.status_code


@pytest.mark.parametrize("fields", [{"response_format": "json"}, {"top_logprobs": 1}], ids=repr)
def test_an_error_has_a_message_a_type_and_a_code(server: Server, fields: Json) -> None:
    """A message, a type, and a code that is null, a word, or a number in llama.cpp."""
    response = server.post(CHAT, ask(**fields))
    if server.dialect == "llama.cpp" and "response_format" in fields:
        return  # ignored there

    problem = error(response)
    assert {"message", "type", "code"} == problem.keys()
    assert "invalid_request_error" == problem["type"]
    assert server.choose(old=None, newest=None, llama_cpp=400) == problem["code"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, ask()),
        (COMPLETIONS, {"model": "any", "prompt": "a"}),
        ("/completion", {"prompt": "a"}),
    ],
)
def test_a_full_queue_is_told_without_when_to_ask_again(
    scripted: Server, path: str, body: Json
) -> None:
    """It does not say when to ask again; what is wrong anyway is told first."""
    scripted.fake.busy = True

    response = scripted.post(path, body)

    assert (503, "server_busy") == (response.status_code, error(response)["type"])
    assert "All slots are busy" in error(response)["message"]
    assert "retry-after" not in response.headers
    assert 422 == scripted.post(path, {}).status_code


def test_a_model_that_could_not_be_loaded_is_told_with_each_request(scripted: Server) -> None:
    """The server stays and refuses what it is asked."""
    scripted.fake.load_failed = True

    response = scripted.post(CHAT, ask())

    assert scripted.choose(old=400, newest=501) == response.status_code
    assert scripted.choose(old="server_error", newest="not_implemented") == error(response)["type"]


def test_a_worker_that_has_ended_is_an_error_of_the_server(scripted: Server) -> None:
    """503 then, but of a type that says that asking again is no use."""
    scripted.fake.dead = True

    response = scripted.post(CHAT, ask())

    assert scripted.choose(old=400, newest=503) == response.status_code
    assert "server_error" == error(response)["type"]


def test_a_prompt_that_does_not_fit(server: Server) -> None:
    """mlxcel forgets its beginning in silence; llama.cpp refuses it with both numbers."""
    if server.fake is None and server.dialect != "llama.cpp":
        pytest.skip("the context of the model may be longer than a test should fill")

    response = server.post(CHAT, ask("word " * 6000, max_tokens=1))

    assert server.choose(old=200, newest=200, llama_cpp=400) == response.status_code
    if response.status_code == 400:
        problem = error(response)
        assert "exceed_context_size_error" == problem["type"]
        assert problem["n_prompt_tokens"] > problem["n_ctx"] > 0
