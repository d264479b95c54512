"""Token counts and the context in ``ChatMlxcel``, against a scripted server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.tools import tool
from pydantic import BaseModel

from mlxcel_integrations import MlxcelError, MlxcelServerError
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.langchain.token_counting import _split_conversation
from tests.fakes.server import FakeServer, Reply

OPENAI, ANTHROPIC = "/v1/chat/completions/input_tokens", "/v1/messages/count_tokens"


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


class Search(BaseModel):
    """Search for something."""

    query: str


CALL = {"name": "weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}
SENT_CALL = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": "{}"}}
CHAT: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("What is the weather in Oslo?"),
    AIMessage("", tool_calls=[CALL]),
    ToolMessage("sunny", tool_call_id="c1"),
]


@pytest.fixture(params=["v0.4.2", "newest"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param, context_size=4096) as running:
        yield running


def sync(llm: ChatMlxcel, name: str, *args: Any, **more: Any) -> Any:
    return getattr(llm, name)(*args, **more)


def awaited(llm: ChatMlxcel, name: str, *args: Any, **more: Any) -> Any:
    return asyncio.run(getattr(llm, f"a{name}")(*args, **more))


Ask = Callable[..., Any]
BOTH_WAYS = pytest.mark.parametrize("ask", [sync, awaited])


def turns(count: int) -> list[BaseMessage]:
    chat: list[BaseMessage] = [SystemMessage("Be brief.")]
    for index in range(count):
        chat += [HumanMessage(f"question {index} " + "x " * 20), AIMessage(f"answer {index}")]
    return [*chat, HumanMessage("the last question")]


@BOTH_WAYS
def test_a_text_is_counted_by_the_tokens_of_the_server(llm: ChatMlxcel, ask: Ask) -> None:
    ids = ask(llm, "get_token_ids", "two words")

    assert 2 == len(ids) == ask(llm, "get_num_tokens", "two words")
    assert "two words" == llm._llm.detokenize(ids)


@BOTH_WAYS
def test_a_tokenizer_of_the_user_comes_first(server: FakeServer, ask: Ask) -> None:
    llm = ChatMlxcel(base_url=server.url, custom_get_token_ids=lambda text: [ord(c) for c in text])

    assert [97, 98] == ask(llm, "get_token_ids", "ab")
    assert 2 == ask(llm, "get_num_tokens", "ab")
    assert [] == server.requests


@BOTH_WAYS
def test_tools_count(llm: ChatMlxcel, ask: Ask) -> None:
    tools = [weather, Search, {"type": "function", "function": {"name": "now", "description": "x"}}]
    alone = ask(llm, "get_num_tokens_from_messages", CHAT, tools=[weather])

    assert alone > ask(llm, "get_num_tokens_from_messages", CHAT)
    assert alone < ask(llm, "get_num_tokens_from_messages", CHAT, tools)


def test_the_async_twins_take_the_same() -> None:
    for name in (
        "get_token_ids",
        "get_num_tokens",
        "get_num_tokens_from_messages",
        "fit_messages",
    ):
        twins = [getattr(ChatMlxcel, name), getattr(ChatMlxcel, f"a{name}")]
        first, second = map(inspect.signature, twins)
        assert first == second


@BOTH_WAYS
def test_no_messages_have_no_tokens(llm: ChatMlxcel, server: FakeServer, ask: Ask) -> None:
    assert 0 == ask(llm, "get_num_tokens_from_messages", [])
    assert [] == server.requests


def test_the_template_variables_of_the_answers_count(server: FakeServer) -> None:
    server.route(OPENAI, Reply.json({"input_tokens": 7}))
    llm = ChatMlxcel(base_url=server.url, reasoning=False)

    assert 7 == llm.get_num_tokens_from_messages([HumanMessage("hi")])
    (seen,) = [seen for seen in server.requests if seen.path == OPENAI]
    assert {"enable_thinking": False} == seen.json["chat_template_kwargs"]


def test_the_way_can_be_read(llm: ChatMlxcel, server: FakeServer) -> None:
    before = llm.counting_route
    llm.get_num_tokens_from_messages(CHAT)

    route = ANTHROPIC if server.generation == "v0.4.2" else OPENAI
    assert (None, route) == (before, llm.counting_route)


@BOTH_WAYS
def test_a_server_that_cannot_count_messages_is_one_clear_error(
    llm: ChatMlxcel, server: FakeServer, ask: Ask
) -> None:
    for route in (OPENAI, ANTHROPIC, "/apply-template"):
        server.route(route, Reply.plain(404))

    with pytest.raises(MlxcelError, match="cannot count the tokens of messages"):
        ask(llm, "get_num_tokens_from_messages", CHAT)


# --------------------------------------------------------------------------- trimming


@pytest.mark.parametrize("strategy", ["first", "last"])
@pytest.mark.parametrize("partial", [False, True])
def test_trim_messages_counts_with_the_model(llm: ChatMlxcel, strategy: Any, partial: bool) -> None:
    chat = turns(10)

    trimmed = trim_messages(
        chat,
        max_tokens=100,
        token_counter=llm,
        strategy=strategy,
        allow_partial=partial,
        include_system=strategy == "last",
    )

    assert 1 < len(trimmed) < len(chat)
    assert 50 < llm.get_num_tokens_from_messages(trimmed) <= 100


def test_trimming_again_asks_nothing(llm: ChatMlxcel, server: FakeServer) -> None:
    chat = turns(10)
    trim = trim_messages(max_tokens=100, token_counter=llm, include_system=True)
    expected = trim.invoke(chat)
    server.requests.clear()

    assert expected == trim.invoke(chat)
    assert [] == server.requests


@BOTH_WAYS
def test_messages_that_no_template_takes_are_counted_split_conversation(
    llm: ChatMlxcel, server: FakeServer, ask: Ask
) -> None:
    """Trimming counts messages in reverse, which a template may refuse."""
    apart = sum(
        ask(llm, "get_num_tokens_from_messages", [HumanMessage(text)])
        for text in ("Be brief.", "the question", "two words")
    )
    whole = [SystemMessage("Be brief."), HumanMessage("the question"), AIMessage("two words")]
    route = ANTHROPIC if server.generation == "v0.4.2" else OPENAI
    refusal = Reply.error(400, "roles must alternate")
    fussy = Fussy(server, route, refusal)

    with fussy:
        assert apart == ask(llm, "get_num_tokens_from_messages", whole[::-1])


class Fussy:
    """Has the server refuse the next request to a route, and answer the others."""

    def __init__(self, server: FakeServer, route: str, refusal: Reply) -> None:
        self.server, self.route, self.refusal = server, route, refusal

    def __enter__(self) -> None:
        answer = self.server.reply

        def reply(seen: Any) -> Reply:
            if seen.path == self.route and len(seen.json["messages"]) > 1:
                return self.refusal
            return answer(seen)

        self.server.reply = reply  # type: ignore[method-assign]  # a server that is scripted

    def __exit__(self, *error: object) -> None:
        del self.server.reply


def test_messages_are__split_conversation_as_those_of_a_user() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": None, "tool_calls": [SENT_CALL]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [image]},
    ]
    fields = {"temperature": 0, "tools": ["tool"]}

    parts = _split_conversation(messages, fields, MlxcelError("no conversation"))

    assert {"user"} == {message["role"] for part, _ in parts for message in part}
    contents = [part[0]["content"] for part, _ in parts]
    assert "Be brief." == contents[0]
    assert "weather" in contents[1]
    assert contents[2]
    assert image == contents[3][0]
    assert [fields, *[{"temperature": 0}] * 3] == [more for _, more in parts]


def test_a_server_that_fails_is_not_asked_for_each_message() -> None:
    with pytest.raises(MlxcelServerError, match="lost"):
        _split_conversation([{"role": "user", "content": "x"}], {}, MlxcelServerError("lost"))


# --------------------------------------------------------------------------- the context


@BOTH_WAYS
def test_fit_messages_drops_the_oldest_turns(llm: ChatMlxcel, server: FakeServer, ask: Ask) -> None:
    server.context_size = 200
    chat = turns(20)

    kept = ask(llm, "fit_messages", chat, reserve=50)

    assert [*chat[:1], *chat[-len(kept) + 1 :]] == kept
    assert all(any(one is message for message in chat) for one in kept)
    assert 100 < llm.get_num_tokens_from_messages(kept) <= 150


@BOTH_WAYS
def test_fit_messages_knows_messages_with_several_results(llm: ChatMlxcel, ask: Ask) -> None:
    calls: Any = [{"name": "f", "args": {}, "id": call} for call in ("c1", "c2")]
    results = [
        {"type": "tool_result", "tool_use_id": call, "content": "sunny"} for call in ("c1", "c2")
    ]
    last = HumanMessage("And now?")
    chat = [*turns(2), AIMessage("", tool_calls=calls), HumanMessage([*results, "Well?"]), last]

    assert chat == ask(llm, "fit_messages", chat, reserve=50)


@BOTH_WAYS
def test_fit_messages_counts_tools_and_max_tokens(server: FakeServer, ask: Ask) -> None:
    server.context_size = 200
    with ChatMlxcel(base_url=server.url, max_tokens=50) as llm:
        few = ask(llm, "fit_messages", turns(20), tools=[weather])

        assert len(few) < len(ask(llm, "fit_messages", turns(20)))
        assert llm.get_num_tokens_from_messages(few, tools=[weather]) <= 150


@BOTH_WAYS
def test_a_last_turn_that_does_not_fit_is_an_overflow_with_both_numbers(
    llm: ChatMlxcel, server: FakeServer, ask: Ask
) -> None:
    server.context_size = 100

    with pytest.raises(ContextOverflowError, match="room for 25 tokens") as caught:
        ask(llm, "fit_messages", [HumanMessage("word " * 100)])
    assert isinstance(caught.value, openai.BadRequestError)
    assert (103, 100) == (caught.value.n_prompt_tokens, caught.value.n_ctx)  # type: ignore[attr-defined]  # of our class


@BOTH_WAYS
def test_a_chat_that_would_be_forgotten_is_refused_before_it_is_sent(
    llm: ChatMlxcel, server: FakeServer, ask: Ask
) -> None:
    server.context_size = 1500

    with pytest.raises(ContextOverflowError) as caught:
        ask(llm, "invoke", "word " * 2000)
    assert (2003, 1500) == (caught.value.n_prompt_tokens, caught.value.n_ctx)  # type: ignore[attr-defined]  # of our class
    with pytest.raises(ContextOverflowError):
        list(llm.stream("word " * 2000))
    assert [] == server.posts


def test_the_check_can_be_switched_off(server: FakeServer) -> None:
    server.context_size = 1500
    with ChatMlxcel(base_url=server.url, check_context=False) as llm:
        llm.invoke("word " * 2000)

    assert 1 == len(server.posts)
