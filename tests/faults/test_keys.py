"""A server sends the key back, in any form: no error, log, traceback or pickle shows it."""

from __future__ import annotations

import base64
import importlib
import logging
import pickle
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer, MlxcelError
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.secret import Secret
from mlxcel_integrations.transport.sync_pool import SyncPool
from tests.faults.key_search import CONNECTED, NOWHERE, Hunt, LogHunter
from tests.faults.raw_socket_server import RawServer

Answer = Callable[[str], bytes]


def answer(status: str, content_type: str, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", "connection: close", *headers]
    return "\r\n".join([*lines, "", body]).encode()


def send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    # Closed with unread data, the connection would be reset, and the answer lost.
    while connection.recv(65536):
        pass


def event(text: str) -> bytes:
    return answer("200 OK", "text/event-stream", f"data: {text}\n\n")


def encoded(key: str) -> str:
    return base64.b64encode(f"Bearer {key}".encode()).decode()


def escaped(key: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in key)


def entities(key: str) -> str:
    forms = ("&#{};", "&#00{};", "&#x{:x};", "&#X00{:X};")
    return "".join(forms[at % 4].format(ord(letter)) for at, letter in enumerate(key))


DELTA = '{"choices": [{"index": 0, "delta": {"content": "%s"}}]}'

ANSWERS: dict[str, Answer] = {
    "JSON error": lambda key: answer(
        "401 No", "application/json", f'{{"error": {{"message": "bad {key}", "type": "{key}"}}}}'
    ),
    "text error": lambda key: answer("403 No", "text/plain", f"bad key {key}"),
    "page": lambda key: answer("502 No", "text/html", f"<h1>bad key {key}</h1>"),
    "split over lines": lambda key: answer("500 No", "text/plain", f"{key[:9]}\n  {key[9:]}"),
    "split in JSON": lambda key: answer(
        "400 No", "application/json", f'{{"error": {{"message": "{key[:9]}\\n{key[9:]}"}}}}'
    ),
    "Base64": lambda key: answer("400 No", "text/plain", f"authorization {encoded(key)}"),
    "percent-encoded": lambda key: answer(
        "400 No", "text/plain", f"key={key.replace('-', '%2D').replace('a', '%61')}"
    ),
    "escaped": lambda key: answer("400 No", "application/json", f'{{"error": "{escaped(key)}"}}'),
    "entities of HTML": lambda key: answer(
        "403 No", "text/html", f"<p>bad key {entities(key)}</p>"
    ),
    "hexadecimal": lambda key: answer(
        "400 No", "text/plain", f"authorization {key.encode().hex()}"
    ),
    "hexadecimal, with capitals": lambda key: answer(
        "400 No", "text/plain", f"key {key.encode().hex(' ').upper()}"
    ),
    "no HTTP": lambda key: f"{key}\r\n\r\n".encode(),
    "bad header": lambda key: f"HTTP/1.1 200 OK\r\n{key}\r\n\r\n".encode(),
    "name of the server": lambda key: answer("500 No", "text/plain", "no", f"x-served-by: {key}"),
    "encoding": lambda key: answer("200 OK", "text/plain", "no", f"content-encoding: {key}"),
    "no stream": lambda key: answer("200 OK", "text/plain", f"the key is {key}"),
    "content type": lambda key: answer("200 OK", key, "no"),
    "event is an error": lambda key: event(f'{{"error": {{"message": "bad {key}"}}}}'),
    "event is no JSON": lambda key: event(f"{'x' * 180} {key}"),
    "event has no shape": lambda key: event(f'{{"choices": {{"{key}": 1}}}}'),
    "answer breaks off": lambda key: event(DELTA % key),
}


@pytest.fixture
def hunt(caplog: pytest.LogCaptureFixture) -> Hunt:
    # Imported while an error is raised, its lines would be in the traceback.
    importlib.import_module("openai")
    return Hunt()


@pytest.mark.parametrize("way", ANSWERS)
@pytest.mark.parametrize("call", CONNECTED[:-1], ids=lambda call: call.__name__)
def test_a_key_that_the_server_sends_back_is_not_shown(
    way: str, call: Callable[..., None], hunt: Hunt, caplog: pytest.LogCaptureFixture
) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        send(connection, ANSWERS[way](hunt.key))

    with RawServer(serve) as server, caplog.at_level(logging.DEBUG):
        logging.getLogger("mlxcel").addHandler(handler := LogHunter(hunt))
        try:
            with pytest.raises(Exception) as caught:  # noqa: PT011  all kinds are looked through
                call(hunt.key, base_url=server.url, served_model="m", max_retries=0)
        finally:
            logging.getLogger("mlxcel").removeHandler(handler)
        hunt.look_at_error(way, caught.value)

    if way == "answer breaks off":
        # What was already delivered is the caller's.
        hunt.own = {place for place in hunt.own if not place.startswith("local ")}
    assert set() == hunt.own
    assert set() == {place for place in hunt.foreign if "traceback" not in place}
    assert set() == hunt.broken


def test_a_default_header_that_the_server_sends_back_is_not_shown(hunt: Hunt) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        send(connection, ANSWERS["text error"](hunt.key))

    with RawServer(serve) as server:
        llm = LLM(
            base_url=server.url, served_model="m", default_headers={"x-token": f"Token {hunt.key}"}
        )
        with pytest.raises(Exception, match="bad key") as caught:
            llm.chat("hi")
        hunt.look_at_error("header", caught.value)

    assert set() == hunt.own


def test_an_error_about_the_pool_holds_no_request(hunt: Hunt) -> None:
    pool = SyncPool(httpx.MockTransport(lambda request: httpx.Response(200)))
    pool._free_connections = threading.Semaphore(0)
    llm = LLM(
        base_url=NOWHERE,
        served_model="m",
        api_key=hunt.key,
        default_headers={"x-token": hunt.key},
        timeout=0.05,
        max_retries=0,
    )
    llm._driver._pool = pool

    with pytest.raises(Exception, match=r"connections to .* were busy for 0\.05 s") as caught:
        llm.chat("hi")

    hunt.look_at_error("pool", caught.value)
    assert set() == hunt.own | hunt.foreign


def test_requests_in_causes_have_no_headers(hunt: Hunt) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no route for {hunt.key}", request=request)

    llm = LLM(
        base_url=NOWHERE,
        served_model="m",
        api_key=hunt.key,
        max_retries=0,
        transport=httpx.MockTransport(fail),
    )
    with pytest.raises(openai.APIConnectionError, match="no route for") as caught:
        llm.chat("hi")

    assert "POST" == caught.value.cause.request.method
    assert "authorization" not in caught.value.cause.request.headers
    assert hunt.key not in str(caught.value.cause)


BASE_URLS = ("http:/{}@h", "htp://{}@h", "http//{}@h", "{}@h:80", "http://{}@h", "http://{}@h:x")


@pytest.mark.parametrize(
    "url",
    [url.format(user) for url in BASE_URLS for user in ("{}", "user:{}", "user:a@b/{}")]
    + ["htp://h?key={}", "h:80#{}"],
)
@pytest.mark.parametrize("call", CONNECTED[:-1], ids=lambda call: call.__name__)
def test_a_mistyped_address_does_not_show_its_password(
    url: str, call: Callable[..., None], hunt: Hunt
) -> None:
    with pytest.raises(MlxcelError) as caught:
        call("none", base_url=url.format(hunt.key))

    message = str(caught.value)
    assert hunt.key[:15] not in message
    assert hunt.key[-15:] not in message
    if "@" in url:
        hunt.look_at_error(url, caught.value)
        assert set() == {place for place in hunt.own if "test_keys" not in place}


@pytest.mark.parametrize("url", ["http://h:1/?key={}", "https://h/v1?a=b&key={}#c", "http://h#{}"])
@pytest.mark.parametrize("kind", [LLM, AsyncLLM, ChatMlxcel, Mlxcel])
def test_what_requests_do_not_keep_of_an_address_is_not_shown(
    kind: Callable[..., Any], url: str, hunt: Hunt
) -> None:
    model = kind(base_url=url.format(hunt.key))

    assert hunt.key not in repr(model)
    assert hunt.key not in str(vars(model))


@pytest.mark.parametrize(
    "words",
    [("--api-key", "{}"), ("--api-key={}",), ("--api_key", "{}"), ("--hf-token", "{}")],
)
@pytest.mark.parametrize("kind", [LLM, AsyncLLM, ManagedServer, ChatMlxcel, Mlxcel])
def test_a_key_on_a_command_line_is_refused(
    kind: Callable[..., Any], words: tuple[str, ...], hunt: Hunt
) -> None:
    words = tuple(word.format(hunt.key) for word in words)
    with pytest.raises(MlxcelError, match="can read command lines") as caught:
        kind(model="m", extra_args=list(words))
    del words
    hunt.look_at_error("extra_args", caught.value)

    assert set() == hunt.own


def pickler(name: str) -> Any:
    return pickle if name == "pickle" else pytest.importorskip(name)


HOLDERS: dict[str, Callable[[str], Any]] = {
    "secret": Secret,
    "its method": lambda key: Secret(key).reveal,
    "a closure": lambda key: (lambda secret: lambda: secret.reveal())(Secret(key)),
    "a list": lambda key: [Secret(key)],
    "LLM": lambda key: LLM(base_url=NOWHERE, api_key=key),
    "its method of chats": lambda key: LLM(base_url=NOWHERE, api_key=key).chat,
    "AsyncLLM": lambda key: AsyncLLM(base_url=NOWHERE, default_headers={"x-token": key}),
    "ManagedServer": lambda key: ManagedServer("m", api_key=key),
    "openai_client": lambda key: LLM(base_url=NOWHERE, api_key=key).openai_client,
    "connection": lambda key: LLM(base_url=NOWHERE, api_key=key)._connection,
}


@pytest.mark.parametrize("module", ["pickle", "cloudpickle", "dill"])
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_key_refuses_to_be_pickled(module: str, holder: str, hunt: Hunt) -> None:
    dumps = pickler(module).dumps
    value = HOLDERS[holder](hunt.key)

    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
        dumps(value)

    assert hunt.key not in str(caught.value)


@pytest.mark.parametrize("module", ["pickle", "cloudpickle", "dill"])
@pytest.mark.parametrize("kind", [ChatMlxcel, Mlxcel])
def test_adapters_are_pickled_without_their_key(
    module: str, kind: Callable[..., Any], hunt: Hunt
) -> None:
    library = pickler(module)
    model = kind(base_url=NOWHERE, served_model="m", api_key=hunt.key)

    pickled = library.dumps(model)
    hunt.look("pickle", pickled)

    assert set() == hunt.own
    assert "m" == pickle.loads(pickled).served_model
