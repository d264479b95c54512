"""What the server is asked: fields, keys and addresses."""

from __future__ import annotations

import traceback
import warnings
from collections import deque
from types import MappingProxyType
from typing import Any

import httpx
import openai
import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.options.fields import SamplingParams
from mlxcel_integrations.protocol.timeouts import MAX_WAIT_SECONDS
from mlxcel_integrations.transport.endpoint import MAX_CONNECTIONS
from tests.fakes.server import FakeServer, Reply

np = pytest.importorskip("numpy")

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)

# A value of each sampling field that the fake server accepts.
VALUES: dict[str, Any] = {
    "stop": ["\x00"],
    "logprobs": True,
    "top_logprobs": 1,
    "response_format": {"type": "text"},
    "logit_bias": {"1": 2.0},
    "dry_sequence_breakers": [1],
    "chat_template_kwargs": {"enable_thinking": False},
    "cache_prompt": True,
    "prompt_cache_key": "key",
    "xtc_threshold": 0.25,
}


@ON_TCP
@pytest.mark.parametrize("field", [n for n in SamplingParams.model_fields if n != "extra_body"])
def test_every_sampling_field_reaches_the_request(
    client: Any, server: FakeServer, field: str
) -> None:
    value = VALUES.get(field, 1)
    # Text completions take a number, that of the alternatives.
    in_text, for_text = ("logprobs", 1) if field.endswith("logprobs") else (field, value)

    client.chat("hi", **{field: value})
    client.generate("hi", **{field: value})

    chat, text = server.posts
    assert (value, for_text) == (chat.json[field], text.json[in_text])


@ON_TCP
def test_what_is_not_given_is_not_sent(client: Any, server: FakeServer) -> None:
    client.chat("hi", temperature=None, stop=None, seed=-1)

    assert {"model", "messages", "stream", "stream_options"} == server.posts[0].json.keys()


@ON_TCP
def test_extra_body_wins(client: Any, server: FakeServer) -> None:
    client.chat("hi", temperature=0.5, extra_body={"temperature": 0.25, "own": {"a": 1}})

    body = server.posts[0].json
    assert (0.25, {"a": 1}, True) == (body["temperature"], body["own"], body["stream"])


@BOTH
@ON_TCP
@pytest.mark.parametrize("stop", ["x", ("x",), ["x"]])
def test_stop_is_sent_as_a_list(client: Any, server: FakeServer, stop: Any) -> None:
    client.chat("hi", stop=stop)
    client.generate("hi", stop=stop)

    assert [["x"]] * 2 == [seen.json["stop"] for seen in server.posts]


@ON_TCP
def test_a_misspelling_is_sent_with_one_warning(
    client: Any, server: FakeServer, shell: str
) -> None:
    # The warning comes once in a process, so each of the two clients has a name of its own.
    name = {"sync": "temprature", "async": "temperatur"}[shell]
    with pytest.warns(UserWarning, match=f"{name!r}.*did you mean 'temperature'.*extra_body="):
        client.chat("hi", **{name: 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.chat("hi", **{name: 1})
        client.generate("hi", mirostat_tau=5, tools=[], user="me")
        client.chat("hi", extra_body={"min_pp": 1})

    assert [1, 1] == [seen.json[name] for seen in server.posts[:2]]
    assert 5 == server.posts[2].json["mirostat_tau"]


@ON_TCP
@pytest.mark.parametrize(
    ("method", "given", "sampling", "message"),
    [
        ("chat", "hi", {"max_tokens": -1}, "max_tokens is -1"),
        ("chat_stream", "hi", {"max_tokens": -1}, "max_tokens is -1"),
        ("generate", "hi", {"n_predict": -1}, "max_tokens is -1"),
        ("stream", "hi", {"n": 2}, "n is more than 1"),
        ("chat", "hi", {"n": 2}, "n is more than 1"),
        ("chat", [{"role": "robot", "content": "hi"}], {}, "unknown role 'robot'"),
        ("chat_stream", [], {}, "no messages"),
        ("chat", "", {}, "All messages are empty"),
        ("generate", ["a", "b"], {}, "A prompt must be a string"),
    ],
)
def test_what_no_server_takes_is_not_sent(
    client: Any, server: FakeServer, method: str, given: Any, sampling: Any, message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        getattr(client, method)(given, **sampling)

    assert [] == server.posts


WITH_FIELDS: dict[str, tuple[Any, ...]] = {
    "chat": ("hi",),
    "chat_stream": ("hi",),
    "complete_chat": ("hi",),
    "generate": ("hi",),
    "stream": ("hi",),
    "decide": ("hi", ["yes", "no"]),
    "count_message_tokens": ("hi",),
    "explain_cache": ("hi", "ho"),
    "fit_messages": ([{"role": "user", "content": "hi"}],),
}


@ON_TCP
@pytest.mark.parametrize("method", WITH_FIELDS)
def test_the_notes_of_our_own_code_cannot_be_given(
    client: Any, server: FakeServer, method: str
) -> None:
    ask = getattr(client, method)
    with pytest.raises(MlxcelError, match=r"^schema_use= is not an argument\. "):
        ask(*WITH_FIELDS[method], schema_use={"tight": True})
    fields = {"correction": "boo", "tight": True, "relaxable": True}
    ask(*WITH_FIELDS[method], **fields)
    bodies = [seen.json for seen in server.posts if "stream" in seen.json]

    counts = ("count_message_tokens", "explain_cache", "fit_messages")
    assert (method in counts) == (bodies == [])
    assert all(fields.items() <= body.items() for body in bodies)
    assert "boo" not in str([body.get("messages") or body.get("prompt") for body in bodies])


@ON_TCP
@pytest.mark.parametrize("timeout", [0, -1])
def test_options_that_cannot_work_are_refused_at_once(connect: Any, timeout: float) -> None:
    with pytest.raises(MlxcelError, match="timeout"):
        connect(timeout=timeout)


@ON_TCP
def test_options_of_a_server_need_a_server_of_our_own(connect: Any) -> None:
    with pytest.raises(
        MlxcelError, match=r"ctx_size= can only be set for a server that is started here"
    ):
        connect(ctx_size=512)


ROUTES: list[tuple[str, Any]] = [
    ("chat", "hi"),
    ("chat_stream", "hi"),
    ("complete_chat", "hi"),
    ("generate", "hi"),
    ("stream", "hi"),
    ("tokenize", "hi"),
    ("detokenize", [1]),
    ("models", None),
]


def ask(client: Any, method: str, given: Any) -> Any:
    return getattr(client, method)(*([] if given is None else [given]))


@ON_TCP
@pytest.mark.parametrize("key", ["right\n", " right"])
def test_white_space_around_a_key_is_dropped(connect: Any, server: FakeServer, key: str) -> None:
    """As it comes from a file."""
    server.api_key = "right"

    assert "echo: hi" == connect(api_key=key).chat("hi")


@ON_TCP
@pytest.mark.parametrize("key", ["5e0b\r\nx: y", "5e0b\u00fc", "5e0b\x00"])
def test_what_cannot_be_a_key_is_refused_without_being_shown(connect: Any, key: str) -> None:
    with pytest.raises(MlxcelError, match="api_key") as caught:
        connect(api_key=key).chat("hi")

    assert "5e0b" not in "".join(traceback.format_exception(caught.value))


@BOTH
@pytest.mark.parametrize(("method", "given"), ROUTES)
def test_the_right_key_is_sent(connect: Any, server: FakeServer, method: str, given: Any) -> None:
    server.api_key = "right"

    assert ask(connect(api_key="right"), method, given)


@BOTH
@ON_TCP
@pytest.mark.parametrize("key", ["wrong", None])
@pytest.mark.parametrize(("method", "given"), ROUTES)
def test_another_key_is_told(
    connect: Any, server: FakeServer, key: str | None, method: str, given: Any
) -> None:
    server.api_key = "right"

    with pytest.raises(openai.AuthenticationError, match="MLXCEL_API_KEY") as caught:
        ask(connect(api_key=key), method, given)

    assert 1 == len(server.requests)
    assert 401 == caught.value.status_code


@ON_TCP
def test_the_key_may_come_from_the_environment(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.api_key = "right"
    monkeypatch.setenv("MLXCEL_API_KEY", "right")

    assert "echo: hi" == connect().chat("hi")
    with pytest.raises(openai.AuthenticationError):
        connect(api_key="wrong").chat("hi")


@ON_TCP
@pytest.mark.parametrize("prefix", ["", "/api", "/deep/er"])
@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_an_address_may_have_a_prefix_and_may_end_in_a_version(
    connect: Any, server: FakeServer, prefix: str, ending: str
) -> None:
    server.api_prefix = prefix

    client = connect(base_url=server.url + prefix + ending)

    assert [1, 1] == [len(client.models()), len(client.tokenize("hi"))]


@pytest.mark.parametrize("place", ["unix"], indirect=True)
def test_a_socket_may_be_an_address_or_a_path(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.socket is not None
    monkeypatch.chdir(server.socket.parent)

    for options in (
        {"base_url": f"unix://{server.socket}"},
        {"socket": server.socket},
        {"socket": "x.sock"},
    ):
        assert "echo: hi" == connect(**options).chat("hi")


def test_the_environment_may_tell_where(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXCEL_BASE_URL", server.url)

    assert "echo: hi" == connect(base_url=None).chat("hi")


@ON_TCP
def test_a_transport_may_stand_in_for_a_server(connect: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "m"}]})
        if request.url.path == "/tokenize":
            return httpx.Response(503, json={"error": {"type": "server_error"}})
        content = b'data: {"choices": [{"text": "ok"}]}\n\ndata: [DONE]\n\n'
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    client = connect(transport=httpx.MockTransport(answer))

    assert (["m"], "ok") == (client.models(), client.generate("hi"))
    with pytest.raises(openai.InternalServerError):
        client.tokenize("hi")


@ON_TCP
def test_a_transport_that_reads_its_responses_itself_works_for_ever(connect: Any) -> None:
    """More requests than there are connections in a pool."""
    answer = httpx.Response(200, json={"tokens": [1, 2]})
    client = connect(transport=httpx.MockTransport(lambda request: answer), timeout=1)

    assert {2} == {len(client.tokenize("hi")) for _ in range(MAX_CONNECTIONS + 10)}


@ON_TCP
def test_messages_may_be_any_iterable(client: Any, server: FakeServer) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}]
    for given in (
        tuple(messages),
        iter(messages),
        (MappingProxyType(message) for message in messages),
        deque(messages),
    ):
        client.chat(given)
    client.chat(iter(messages), schema={"type": "object"})
    assert 2 == len(client.fit_messages(iter(messages)))
    assert 0 < client.count_message_tokens(iter(messages))

    assert [messages] * 4 == [seen.json["messages"] for seen in server.posts[:4]]


@ON_TCP
def test_texts_may_be_any_iterable(client: Any, server: FakeServer) -> None:
    server.models = [{"id": "m", "capabilities": ["completion", "embedding", "rerank"]}]

    assert 2 == len(client.embed(iter(["a", "b"])))
    assert 2 == len(client.rerank("a", iter(["a", "b"])))
    assert [1, 1] == client.count_tokens(iter(["a", "b"]))


@ON_TCP
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"timeout": httpx.Timeout(5)}, (5, 5)),
        ({"timeout": httpx.Timeout(5, connect=2)}, (5, 2)),
        ({"timeout": httpx.Timeout(None, read=5)}, (5, 5)),
        ({"timeout": httpx.Timeout(5, connect=2), "connect_timeout": 3}, (5, 3)),
        ({"timeout": httpx.Timeout(None)}, (MAX_WAIT_SECONDS, MAX_WAIT_SECONDS)),
        ({"timeout": float("inf")}, (MAX_WAIT_SECONDS, 10)),
        ({"timeout": None, "connect_timeout": None}, (600, 10)),
        ({"timeout": np.float32(5), "max_retries": np.int64(1)}, (5, 5)),
    ],
    ids=str,
)
def test_timeouts_and_numbers_of_httpx_and_numpy_are_taken(
    connect: Any, options: Any, expected: Any
) -> None:
    client = connect(**options)

    assert "echo: hi" == client.chat("hi", max_tokens=np.int64(9), temperature=np.float32(0.5))
    timeouts = client.llm._connection.timeouts
    assert expected == (timeouts.read, timeouts.connect)


@ON_TCP
def test_a_request_asks_for_no_compression(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("hi"))
    client.chat("hi")

    headers = server.posts[0].headers
    assert ("identity", "application/json") == (headers["accept-encoding"], headers["content-type"])
    assert "authorization" not in headers
