"""Servers behind one address: what is sent for a balancer, and what its answers tell."""

from __future__ import annotations

import asyncio
import pickle
import traceback
import warnings
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError, MlxcelStreamError
from tests.fakes.server import FakeServer, Reply

ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
VALUE = "t0ken-5e0b"
SENT = {"X-Team": VALUE}


def sent(server: FakeServer, name: str) -> list[str | None]:
    return [seen.headers.get(name) for seen in server.requests]


# --------------------------------------------------------------------------- what is sent


def test_own_headers_go_with_every_request(connect: Any, server: FakeServer) -> None:
    client = connect(default_headers={**SENT, "X-Session-Id": "other"}, session="user-7")
    client.chat("hi")
    client.generate("hi")
    client.count_tokens("hi")
    client.models()

    assert {VALUE} == set(sent(server, "x-team"))
    assert {"user-7"} == set(sent(server, "x-session-id"))
    assert len(server.requests) >= 4


def test_a_conversation_is_named_with_a_request(connect: Any, server: FakeServer) -> None:
    client = connect(session="mine", served_model="fake-model")
    client.chat("hi", session="theirs")
    client.chat_stream("hi", session="theirs")
    client.generate("hi", session="theirs")
    client.chat("hi", session=None)

    assert [*["theirs"] * 3, "mine"] == sent(server, "x-session-id")
    assert not any("session" in seen.json for seen in server.posts)


@ON_TCP
def test_two_clients_of_one_server_send_their_own(connect: Any, server: FakeServer) -> None:
    one, other = connect(default_headers={"x-team": "a"}), connect(default_headers={"x-team": "b"})
    for client in (one, other, one):
        client.models()

    assert ["a", "b", "a"] == sent(server, "x-team")


@ON_TCP
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": f"Bearer {VALUE}"}, "pass the key as api_key="),
        ({"authorization": VALUE}, "pass the key as api_key="),
        ({"content-type": VALUE}, "'content-type', which is set automatically"),
        ({"x team": VALUE}, "has the invalid name 'x team'"),
        ({"Content-Type": VALUE}, "'content-type', which is set automatically"),
        ({"x-team:": VALUE}, "has the invalid name 'x-team:'"),
        ({"": VALUE}, "has the invalid name ''"),
        ({"x-team": f"{VALUE}\r\nx-more: 1"}, "'x-team' in default_headers= has characters"),
        ({"x-team": f"{VALUE}ü"}, "'x-team' in default_headers= has characters"),
        ({"x-team": 5}, "'x-team' in default_headers= is not a string"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_at_once(
    connect: Any, headers: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message) as caught:
        connect(default_headers=headers)

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    in_package = "".join(
        str(frame.locals) for frame in shown.stack if "mlxcel_integrations" in frame.filename
    )
    assert VALUE not in str(caught.value) + in_package


@ON_TCP
@pytest.mark.parametrize("session", ["", " ", "a\nb", "ü", 7])
def test_a_session_that_no_header_can_hold_is_refused(client: Any, session: Any) -> None:
    refused = r"session=.* cannot be sent in a header|session=7 must be a str"
    with pytest.raises(MlxcelError, match=refused):
        client.chat("hi", session=session)
    with pytest.raises(MlxcelError, match=refused):
        LLM(base_url="http://localhost:1", session=session)


@ON_TCP
def test_the_openai_client_sends_them_too(server: FakeServer) -> None:
    with LLM(base_url=server.url, default_headers=SENT, session="s") as llm:
        llm.openai_client.models.list()

    assert ([VALUE], ["s"]) == (sent(server, "x-team"), sent(server, "x-session-id"))


# --------------------------------------------------------------------------- adapters


def test_chat_models_for_langchain_send_them_and_show_nothing(server: FakeServer) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.load import dumps

    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(base_url=server.url, default_headers=SENT, session="mine") as llm:
        llm.invoke("hi")
        llm.bind(session="bound").invoke("hi")
        llm.invoke("hi", session="called")
        shown = [
            repr(llm),
            str(llm),
            dumps(llm),
            str(llm._identifying_params),
            str(llm.model_dump()),
        ]
        keys = [llm._get_llm_string(), llm._get_llm_string(session="other")]
        with pickle.loads(pickle.dumps(llm)) as copy:
            copy.invoke("hi")

    chats = [seen.headers for seen in server.posts]
    assert ["mine", "bound", "called", "mine"] == [headers["x-session-id"] for headers in chats]
    assert {VALUE} == {headers["x-team"] for headers in chats}
    assert [] == [text for text in [*shown, *keys] if VALUE in text]
    assert keys[0] == keys[1]


def test_models_for_llama_index_send_them_and_show_nothing(server: FakeServer) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import ChatMessage

    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(base_url=server.url, default_headers=SENT, session="mine") as llm:
        pickle.loads(pickle.dumps(llm.tokenizer)).encode("hi")
        llm.chat([ChatMessage("hi")])
        llm.chat([ChatMessage("hi")], session="called")
        llm.complete("hi", session="called")
        shown = [repr(llm), str(llm), llm.to_json(), str(llm.to_payload())]
        with pickle.loads(pickle.dumps(llm)) as copy:
            copy.chat([ChatMessage("hi")])

    chats = [seen.headers for seen in server.posts if seen.path != "/tokenize"]
    assert ["mine", "called", "called", "mine"] == [headers["x-session-id"] for headers in chats]
    assert {VALUE} == set(sent(server, "x-team"))
    assert [] == [text for text in shown if VALUE in text]


# --------------------------------------------------------------------------- who answered

SERVED = {"x-served-by": "mac2"}


@ON_TCP
def test_errors_name_the_server_that_answered(client: Any, server: FakeServer) -> None:
    server.script(
        Reply.error(500, "boom", "server_error", headers=SERVED),
        Reply.text("hello there", cut_after=200, headers=SERVED),
        Reply.plain(200, "hello", headers=SERVED),
    )

    with pytest.raises(openai.InternalServerError, match=r"\(server 'mac2'\) answered 500: boom"):
        client.chat("hi", model="m")
    with pytest.raises(MlxcelStreamError, match=r"before the server 'mac2' had finished it"):
        client.chat("hi", model="m")
    with pytest.raises(MlxcelStreamError, match=r"\(server 'mac2'\) answered with text/plain"):
        client.chat("hi", model="m")


@ON_TCP
def test_another_model_is_told_once_and_everything_is_asked_again(
    client: Any, server: FakeServer
) -> None:
    client.chat("hi")
    before = client.features
    client.chat("hi")
    server.model_id, server.context_size = "other-model", before.context_size * 2
    with pytest.warns(UserWarning, match="'fake-model' and 'other-model' in turn"):
        client.chat("hi")
    after, name = client.features, client.model
    server.model_id = "fake-model"
    client.chat("hi", model="fake-model")
    client.chat("hi", model=name)

    assert "other-model" == name == after.models[0].id
    assert before.context_size * 2 == after.context_size


@ON_TCP
def test_a_route_that_has_gone_makes_everything_be_asked_again(
    client: Any, server: FakeServer
) -> None:
    before = client.features
    server.context_size *= 2
    server.route("/tokenize", Reply.plain(404))
    with pytest.raises(openai.NotFoundError):
        client.tokenize("hi")

    assert before.context_size * 2 == client.features.context_size


@ON_TCP
def test_models_that_are_named_in_requests_may_differ(client: Any, server: FakeServer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("fake-model", "other-model"):
            server.model_id = name
            client.chat("hi", model=name)


# --------------------------------------------------------------------------- held back

AT_ONCE = Reply.text("a b c d e f g h i j", first_delay=0.25)


@pytest.fixture
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are late sooner than after the second of `protocol/test_buffering`."""
    monkeypatch.setattr("mlxcel_integrations.protocol.answers.buffering.MIN_SILENCE", 0.2)


@ON_TCP
@pytest.mark.usefixtures("short_silence")
def test_answers_that_are_held_back_are_told_once(client: Any, server: FakeServer) -> None:
    server.script(AT_ONCE, AT_ONCE, AT_ONCE)
    client.chat("hi", model="m")
    with pytest.warns(UserWarning, match=f"Answers from {server.url} arrive all at once"):
        client.chat("hi", model="m")
    client.chat("hi", model="m")


@ON_TCP
@pytest.mark.usefixtures("short_silence")
async def test_a_program_that_reads_many_at_once_may_be_late_itself(server: FakeServer) -> None:
    server.script(*[AT_ONCE] * 6)
    async with AsyncLLM(base_url=server.url, served_model="fake-model") as llm:
        for _ in range(2):
            await asyncio.gather(*[llm.chat("hi") for _ in range(3)])


@pytest.mark.parametrize("place", ["unix"], indirect=True)
@pytest.mark.usefixtures("short_silence")
def test_nothing_stands_between_a_program_and_a_socket(client: Any, server: FakeServer) -> None:
    server.script(AT_ONCE, AT_ONCE)
    for _ in range(2):
        client.chat("hi", model="m")


# --------------------------------------------------------------------------- proxies


@ON_TCP
def test_hosts_that_are_not_local_are_reached_by_the_proxy(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)

    client = connect(base_url="http://models.example.org:8080")

    assert "echo: hi" == client.chat("hi")
    assert {"models.example.org:8080"} == set(sent(server, "host"))
