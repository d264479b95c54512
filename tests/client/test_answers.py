"""Answers arrive whole, by every route and from both server generations."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import ChatReply
from tests.fakes.answers import Json
from tests.fakes.server import FakeServer, Reply

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)
CONVERSATION = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "Grüß dich \u2028 日本"},
]
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@BOTH
@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("generate", "Once upon", "echo: Once upon"),
        ("stream", "Once upon", ["echo:", " Once", " upon"]),
        ("chat", "hi  there", "echo: hi  there"),
        ("chat_stream", "hi  there", ["echo:", " hi", "  there"]),
        ("chat", CONVERSATION, "echo: Grüß dich \u2028 日本"),
        ("chat_stream", CONVERSATION, ["echo:", " Grüß", " dich", " \u2028 日本"]),
    ],
)
def test_an_answer_is_a_text_and_a_stream_its_parts(
    client: Any, method: str, given: Any, expected: Any
) -> None:
    assert expected == getattr(client, method)(given)


@BOTH
def test_a_whole_reply_has_all_that_the_server_told(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("The answer", reasoning="Hm hm", finish="length", usage=USAGE))

    reply = client.complete_chat("hi")

    assert ("The answer", "Hm hm", "length") == (reply.text, reply.reasoning, reply.finish_reason)
    assert USAGE == reply.usage
    assert (None, None, None) == (reply.tool_calls, reply.logprobs, reply.timings)
    assert "fake-model" == reply.model
    assert reply.id.startswith("chatcmpl-")


@BOTH
def test_thinking_is_kept_out_of_the_text(client: Any, server: FakeServer) -> None:
    server.script(*[Reply.text("yes", reasoning="Hm hm")] * 2)

    assert "yes" == client.chat("hi")
    assert ["yes"] == client.chat_stream("hi")


@BOTH
def test_tool_calls_come_beside_the_text(client: Any, server: FakeServer) -> None:
    given = {"id": "c1", "name": "f", "arguments": '{"a": 1}'}
    server.script(Reply.text("Let me look", tool_calls=[given, {**given, "id": "c2"}]))

    reply = client.complete_chat("hi", tools=[{"type": "function", "function": {"name": "f"}}])

    assert [CALL, {**CALL, "id": "c2"}] == reply.tool_calls
    assert ("Let me look", "tool_calls") == (reply.text, reply.finish_reason)
    assert "f" == server.posts[0].json["tools"][0]["function"]["name"]


@BOTH
def test_log_probabilities_come_for_all_tokens(client: Any) -> None:
    reply = client.complete_chat("a b", logprobs=True, top_logprobs=2)

    assert ["echo:", " a", " b"] == [entry["token"] for entry in reply.logprobs["content"]]
    assert [2, 2, 2] == [len(entry["top_logprobs"]) for entry in reply.logprobs["content"]]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ({"timings": {"predicted_ms": 9}}, ChatReply("ok", timings={"predicted_ms": 9})),
        ({"usage": USAGE}, ChatReply("ok", usage=USAGE)),
        ({"choices": []}, ChatReply("ok")),
    ],
)
def test_what_only_some_servers_tell(
    client: Any, server: FakeServer, last: Json, expected: ChatReply
) -> None:
    text = {"choices": [{"index": 0, "delta": {"content": "ok"}}]}
    server.script(Reply.events([text, last]))

    assert expected == client.complete_chat("hi")


@BOTH
@ON_TCP
@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({"max_tokens": 2}, ("echo: a", "length")),
        ({"n_predict": 2}, ("echo: a", "length")),
        ({"max_completion_tokens": 2}, ("echo: a", "length")),
        ({"stop": "b"}, ("echo: a ", "stop")),
        ({"stop": ["x", "b"]}, ("echo: a ", "stop")),
        ({"seed": -1, "n": 1}, ("echo: a b c", "stop")),
        ({"extra_body": {"max_tokens": 1}, "max_tokens": 2}, ("echo:", "length")),
    ],
    ids=str,
)
def test_both_generations_take_these(
    client: Any, sampling: dict[str, Any], expected: tuple[str, str]
) -> None:
    reply = client.complete_chat("a b c", **sampling)

    assert expected == (reply.text, reply.finish_reason)


def test_an_empty_answer_is_an_answer(client: Any, server: FakeServer) -> None:
    server.script(*[Reply.text("")] * 4)

    assert "" == client.chat("hi")
    assert [] == client.chat_stream("hi")
    assert "" == client.generate("hi")
    assert [] == client.stream("hi")


@ON_TCP
def test_a_long_answer(client: Any, server: FakeServer) -> None:
    words = " ".join(map(str, range(2000)))
    server.script(*[Reply.text(words)] * 2)

    assert words == client.chat("hi")
    assert words == "".join(client.chat_stream("hi"))


@pytest.mark.parametrize("chunk_size", [1, 5])
def test_an_answer_in_tiny_pieces(client: Any, server: FakeServer, chunk_size: int) -> None:
    events = [{"choices": [{"delta": {"content": text}}]} for text in ("日本", "🎉")]
    server.script(Reply.events(events, chunk_size=chunk_size))

    assert "日本🎉" == client.chat("hi")


@ON_TCP
def test_keep_alive_comments_are_no_text(client: Any, server: FakeServer) -> None:
    server.ping_every = 0.01
    server.script(Reply.text("a b", delay=0.04, first_delay=0.04))

    assert ["a", " b"] == client.chat_stream("hi")
