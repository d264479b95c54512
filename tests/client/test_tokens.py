"""How many tokens texts and messages have, and what does not fit into the context."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, MlxcelError
from tests.fakes.server import FakeServer, Reply

BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)

OPENAI, ANTHROPIC = "/v1/chat/completions/input_tokens", "/v1/messages/count_tokens"
TEMPLATE = "/apply-template"
TEXTS = ["one", "", "two words", "  space\n", "früh 日本 🎉", "the <eos> of it", "<eos>", "one"]

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
CHATS: list[tuple[Any, dict[str, Any]]] = [
    ("Hello there", {}),
    ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], {}),
    ([{"role": "user", "content": "Hi"}], {"tools": [TOOL]}),
    ([{"role": "user", "content": "Hi"}], {"tools": []}),
    (
        [
            {"role": "user", "content": "What is the weather in Oslo?"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny and warm"},
        ],
        {"tools": [TOOL]},
    ),
]


def paths(server: FakeServer) -> list[str]:
    return [seen.path for seen in server.requests]


def turns(count: int, words: int = 50) -> list[dict[str, str]]:
    """A conversation of system message, questions and answers, ending in a question."""
    roles = ["user", "assistant"] * count + ["user"]
    chat = [
        {"role": role, "content": f"{index} " + "word " * words} for index, role in enumerate(roles)
    ]
    return [{"role": "system", "content": "Be brief."}, *chat]


@BOTH
def test_counts_are_the_lengths_of_what_tokenize_gives(client: Any, generation: str) -> None:
    expected = [len(client.tokenize(text)) for text in TEXTS]

    assert expected == client.count_tokens(TEXTS)
    assert expected == [client.count_tokens(text) for text in TEXTS]
    assert [] == client.count_tokens([])


def test_many_texts_are_one_request(client: Any, server: FakeServer) -> None:
    client.count_tokens(["a", "b"])
    server.requests.clear()

    assert [2] * 1000 == client.count_tokens([f"text {number}" for number in range(1000)])
    assert ["/tokenize"] == paths(server)


@BOTH
def test_it_can_be_asked_whether_many_are_counted_at_once(client: Any, generation: str) -> None:
    assert (generation == "newest") == client.counts_at_once()


@ON_TCP
@pytest.mark.parametrize("generation", ["v0.4.2"])
def test_an_old_server_is_asked_for_each_text(client: Any, server: FakeServer) -> None:
    client.count_tokens(["a", "b"])
    server.requests.clear()

    assert [2] * 10 == client.count_tokens([f"text {number}" for number in range(10)])
    assert ["/tokenize"] * 10 == paths(server)


@BOTH
def test_what_was_counted_is_not_asked_again(client: Any, server: FakeServer) -> None:
    chat = turns(2)
    client.count_tokens(TEXTS)
    client.count_message_tokens(chat)
    server.requests.clear()

    client.count_tokens(TEXTS[::-1])
    client.count_message_tokens(chat)
    assert [] == server.requests


@BOTH
@pytest.mark.parametrize(("messages", "more"), CHATS)
def test_messages_are_counted_as_the_answer_tells_it(
    client: Any, messages: Any, more: dict[str, Any]
) -> None:
    reply = client.complete_chat(messages, **more)

    assert reply.usage["prompt_tokens"] == client.count_message_tokens(messages, **more)


@ON_TCP
@pytest.mark.parametrize(("messages", "more"), CHATS)
@pytest.mark.parametrize(
    ("generation", "missing"),
    [("newest", []), ("v0.4.2", []), ("newest", [OPENAI, ANTHROPIC])],
    ids=["openai", "anthropic", "template"],
)
def test_every_way_counts_the_same(
    client: Any, server: FakeServer, messages: Any, more: dict[str, Any], missing: list[str]
) -> None:
    expected = client.complete_chat(messages, **more).usage["prompt_tokens"]
    for route in missing:
        server.route(route, Reply.plain(404))

    assert expected == client.count_message_tokens(messages, **more)


@BOTH
@pytest.mark.parametrize("bos", [True, False])
def test_messages_are_counted_before_the_first_answer_as_after_it(
    client: Any, server: FakeServer, bos: bool
) -> None:
    server.bos = bos

    count = client.count_message_tokens("Hello there")

    assert count == client.complete_chat("Hello there").usage["prompt_tokens"]
    assert count == client.count_message_tokens("Hello there")


@ON_TCP
@pytest.mark.parametrize("stops", [None, ["there"]])
def test_a_template_without_a_first_token_is_learned_from_an_answer(
    client: Any, server: FakeServer, stops: list[str] | None
) -> None:
    """Then this route counts right, but only the usage of an answer shows that."""
    server.route(OPENAI, Reply.plain(404))

    reply = client.complete_chat("Hello there")
    client.complete_chat("Say there", stop=stops)

    assert reply.usage["prompt_tokens"] == client.count_message_tokens("Hello there")
    assert client.count_message_tokens("Hello") + 1 == client.count_message_tokens("Hello there")


@BOTH
def test_the_way_is_found_once_and_can_be_read(
    client: Any, server: FakeServer, generation: str
) -> None:
    before = client.llm.counting_route
    client.count_message_tokens("one")
    client.count_message_tokens("two")

    old = generation == "v0.4.2"
    asked = [path for path in paths(server) if path != "/v1/models"]
    assert [OPENAI, ANTHROPIC, "/tokenize", ANTHROPIC] if old else [OPENAI, OPENAI] == asked
    assert (None, ANTHROPIC if old else OPENAI) == (before, client.llm.counting_route)


@ON_TCP
@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_cannot_count_messages_is_one_clear_error(
    client: Any, server: FakeServer, status: int
) -> None:
    for route in (OPENAI, ANTHROPIC, TEMPLATE):
        server.route(route, Reply.plain(status))

    with pytest.raises(MlxcelError, match="cannot count the tokens of messages"):
        client.count_message_tokens("hi")
    assert 1 == client.count_tokens("hi")


@ON_TCP
def test_other_failures_are_told_and_change_nothing(client: Any, server: FakeServer) -> None:
    server.route(OPENAI, Reply.error(500, "boom", "server_error"))
    with pytest.raises(openai.InternalServerError, match="boom"):
        client.count_message_tokens("hi")
    server.unroute(OPENAI)

    assert client.count_message_tokens("hi") > 0
    assert OPENAI == client.llm.counting_route


@ON_TCP
def test_a_busy_server_is_asked_again(connect: Any, server: FakeServer) -> None:
    client = connect(max_retries=1)
    server.route("/tokenize", Reply.error(503, "busy", "server_busy"))

    with pytest.raises(openai.InternalServerError):
        client.count_tokens("hi")
    assert ["/tokenize"] * 2 == paths(server)


@ON_TCP
def test_template_variables_are_part_of_the_request(client: Any, server: FakeServer) -> None:
    client.count_message_tokens("hi", chat_template_kwargs={"enable_thinking": False})

    (seen,) = [seen for seen in server.requests if seen.path == OPENAI]
    assert {"enable_thinking": False} == seen.json["chat_template_kwargs"]
    assert {"model", "messages", "chat_template_kwargs"} == seen.json.keys()


@ON_TCP
def test_no_messages_are_told(client: Any) -> None:
    with pytest.raises(MlxcelError, match="no messages"):
        client.count_message_tokens([])


def test_64_threads_count_with_one_object() -> None:
    texts = [f"text number {number}" for number in range(200)]
    with FakeServer() as server, LLM(base_url=server.url) as llm, ThreadPoolExecutor(64) as pool:
        counts = list(pool.map(lambda _: llm.count_tokens(texts), range(64)))

    assert [[3] * 200] * 64 == counts


# --------------------------------------------------------------------------- the context


@BOTH
def test_what_fits_stays_as_it_is(client: Any, server: FakeServer) -> None:
    server.context_size = 4096
    chat = turns(3)

    assert chat == client.fit_messages(chat)


@BOTH
def test_the_oldest_turns_go_until_it_fits(client: Any, server: FakeServer) -> None:
    server.context_size = 1000
    chat = turns(30)

    kept = client.fit_messages(chat, reserve=200)

    assert chat[:1] + chat[-len(kept) + 1 :] == kept
    assert "user" == kept[1]["role"]
    assert client.count_message_tokens(kept) <= 800
    assert client.count_message_tokens(chat[:1] + chat[-len(kept) - 1 :]) > 800


@BOTH
@ON_TCP
@pytest.mark.parametrize(
    ("more", "room"), [({}, 750), ({"max_tokens": 400}, 600), ({"reserve": 0}, 1000)]
)
def test_what_is_left_for_the_answer(
    client: Any, server: FakeServer, more: dict[str, Any], room: int
) -> None:
    server.context_size = 1000

    tokens = client.count_message_tokens(client.fit_messages(turns(30), **more))

    assert room - 110 < tokens <= room


@BOTH
def test_a_last_turn_that_does_not_fit_is_an_overflow(client: Any, server: FakeServer) -> None:
    server.context_size = 100

    with pytest.raises(openai.BadRequestError, match="room for 25 tokens") as caught:
        client.fit_messages(turns(1, words=90))
    assert "exceed_context_size_error" == caught.value.type
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["n_prompt_tokens"] > 75
    assert 100 == caught.value.body["n_ctx"]


@ON_TCP
def test_a_server_that_does_not_tell_its_context_is_told(client: Any, server: FakeServer) -> None:
    server.context_size = 0

    with pytest.raises(MlxcelError, match="does not report its context size"):
        client.fit_messages(turns(1))


LONG = "word " * 2000


@BOTH
def test_a_chat_that_would_be_forgotten_is_refused_before_it_is_sent(
    client: Any, server: FakeServer
) -> None:
    server.context_size = 1500

    with pytest.raises(openai.BadRequestError, match="ctx_size") as caught:
        client.chat(LONG)
    assert isinstance(caught.value.body, dict)
    assert (2003, 1500) == (caught.value.body["n_prompt_tokens"], caught.value.body["n_ctx"])
    assert [] == server.posts


@BOTH
@ON_TCP
def test_a_text_that_does_not_fit_is_not_sent(client: Any, server: FakeServer) -> None:
    server.context_size = 1500

    with pytest.raises(openai.BadRequestError, match="ctx_size"):
        client.generate("word " * 2000)
    assert [] == server.posts


@BOTH
@ON_TCP
def test_a_chat_that_just_fits_is_sent(client: Any, server: FakeServer) -> None:
    server.context_size = 2004
    client.chat(LONG)

    assert 1 == len(server.posts)


@BOTH
@ON_TCP
@pytest.mark.parametrize(
    ("characters", "tools", "expected"),
    [(2000, 0, False), (2001, 0, True), (10, 4, False), (10, 5, True)],
)
def test_only_what_may_be_too_long_for_some_context_is_counted(
    client: Any, server: FakeServer, characters: int, tools: int, expected: bool
) -> None:
    server.context_size = 100
    named = [{"type": "function", "function": {"name": f"f{n}"}} for n in range(tools)]

    client.chat("x" * characters, tools=named)

    others = {"/v1/models", "/health", "/props", "/v1/chat/completions"}
    assert expected == bool(set(paths(server)) - others)


@ON_TCP
def test_the_check_can_be_switched_off(connect: Any, server: FakeServer) -> None:
    server.context_size = 1500

    connect(check_context=False).chat(LONG)

    assert ["/v1/models", "/v1/chat/completions"] == paths(server)


@ON_TCP
def test_a_server_that_refuses_by_itself_is_checked_only_on_demand(
    connect: Any, server: FakeServer
) -> None:
    server.context_size = 1500
    props = {"build_info": "b1-x", "default_generation_settings": {"n_ctx": 1500}}
    server.route("/props", Reply.json(props))

    connect().chat(LONG)
    assert OPENAI not in paths(server)
    with pytest.raises(openai.BadRequestError):
        connect(check_context=True).chat(LONG)


@BOTH
@ON_TCP
def test_a_short_chat_asks_for_nothing_more(client: Any, server: FakeServer) -> None:
    client.chat("hi")
    client.chat("word " * 300)

    assert ["/v1/models", *["/v1/chat/completions"] * 2] == paths(server)


@ON_TCP
@pytest.mark.parametrize("generation", ["v0.4.2"])
def test_a_long_chat_that_certainly_fits_is_not_counted(client: Any, server: FakeServer) -> None:
    server.context_size = 100_000
    client.chat(LONG)

    assert ANTHROPIC not in paths(server)
