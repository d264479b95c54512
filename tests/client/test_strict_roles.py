"""Chat templates that are strict about roles and ids, on a scripted server and on the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.client.conftest import AsyncClient, SyncClient
from tests.fakes.server import FakeServer, Reply, Seen

ON_TCP = pytest.mark.parametrize("place", ["tcp"], indirect=True)

SYSTEM = {"role": "system", "content": "Be short."}
UNANSWERED = {"role": "user", "content": "Are you there?"}
QUESTION = {"role": "user", "content": "Hello?"}
ANSWER = {"role": "assistant", "content": "Yes."}


class Strict:
    """Refuses messages as mlxcel does with a strict template, in chats and in counts."""

    def __init__(self, server: FakeServer, *, knows_system: bool = False) -> None:
        self.refused = 0
        self._answer, self._knows_system = server.reply, knows_system
        server.reply = self.reply  # type: ignore[method-assign]  # a server for one test

    def reply(self, seen: Seen) -> Reply:
        roles = [message["role"] for message in (seen.json or {}).get("messages", [])]
        problem = self._problem(roles)
        if problem is None:
            return self._answer(seen)
        self.refused += 1
        return Reply.error(400, f"Invalid request: {problem} (in chat_template:1)")

    def _problem(self, roles: list[str]) -> str | None:
        if roles[:1] == ["system"]:
            if not self._knows_system:
                return "System role not supported"
            del roles[0]
        if any(role != ["user", "assistant"][at % 2] for at, role in enumerate(roles)):
            return "Conversation roles must alternate user/assistant/user/assistant/..."
        return None


def contents(seen: Seen) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in seen.json["messages"]]


@ON_TCP
def test_messages_are_joined_after_a_refusal_and_from_then_on(
    client: Any, server: FakeServer
) -> None:
    strict = Strict(server, knows_system=True)

    assert "echo: Are you there?\n\nHello?" == client.chat([SYSTEM, UNANSWERED, QUESTION])
    assert client.chat_stream([UNANSWERED, QUESTION])
    assert 1 == strict.refused
    joined = ("user", "Are you there?\n\nHello?")
    assert [("system", "Be short."), joined] == contents(server.posts[1])
    assert [joined] == contents(server.posts[2])


@ON_TCP
def test_the_system_message_goes_before_the_first_question(client: Any, server: FakeServer) -> None:
    strict = Strict(server)

    client.chat([SYSTEM, UNANSWERED, QUESTION, ANSWER, QUESTION])
    client.chat([SYSTEM, QUESTION])

    assert 1 == strict.refused
    assert [
        ("user", "Be short.\n\nAre you there?\n\nHello?"),
        ("assistant", "Yes."),
        ("user", "Hello?"),
    ] == contents(server.posts[1])
    assert [("user", "Be short.\n\nHello?")] == contents(server.posts[2])


@ON_TCP
@pytest.mark.parametrize("method", ["count_message_tokens", "fit_messages"])
def test_counts_learn_it_too(client: Any, server: FakeServer, method: str) -> None:
    strict = Strict(server)
    messages = [SYSTEM, UNANSWERED, QUESTION]

    assert getattr(client, method)(messages)
    refused = strict.refused
    client.chat(messages)

    assert 1 == refused == strict.refused


@ON_TCP
def test_what_is_said_beforehand_costs_no_refusal(connect: Any, server: FakeServer) -> None:
    strict = Strict(server)
    client = connect(merge_messages=True)

    client.chat([SYSTEM, UNANSWERED, QUESTION])
    client.count_message_tokens([SYSTEM, UNANSWERED, QUESTION])

    assert 0 == strict.refused


@ON_TCP
@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"merge_messages": False}, [UNANSWERED, QUESTION]),
        ({}, [ANSWER, QUESTION]),
        ({"merge_messages": True}, [ANSWER, QUESTION]),
    ],
)
def test_what_cannot_be_joined_stays_an_error(
    connect: Any, server: FakeServer, options: dict[str, Any], messages: list[Any]
) -> None:
    Strict(server)
    client = connect(**options)

    for method in (client.chat, client.count_message_tokens):
        with pytest.raises(openai.BadRequestError, match=r"must alternate.*begin with a user"):
            method(messages)
    client.chat([QUESTION])

    assert [QUESTION] == server.posts[-1].json["messages"]


@ON_TCP
@pytest.mark.parametrize("generation", ["v0.4.2"])
def test_an_older_server_does_not_refuse_and_can_be_told_for(
    connect: Any, server: FakeServer
) -> None:
    """It answers from a prompt of its own, which is worse."""
    connect().chat([SYSTEM, QUESTION])
    connect(merge_messages=True).chat([SYSTEM, QUESTION])

    assert [SYSTEM, QUESTION] == server.posts[0].json["messages"]
    assert [("user", "Be short.\n\nHello?")] == contents(server.posts[1])


IDS_REFUSED = "Tool call IDs should be alphanumeric strings with length 9!"


def ids(message: dict[str, Any]) -> list[str]:
    given = [call["id"] for call in message.get("tool_calls", [])] or [message.get("tool_call_id")]
    return [each for each in given if each is not None]


class ShortIds:
    """Refuses ids of tool calls as the chat templates of Mistral do."""

    def __init__(self, server: FakeServer) -> None:
        self.refused = 0
        self._answer = server.reply
        server.reply = self.reply  # type: ignore[method-assign]  # a server for one test

    def reply(self, seen: Seen) -> Reply:
        messages = (seen.json or {}).get("messages", [])
        if all(len(each) == 9 and each.isalnum() for one in messages for each in ids(one)):
            return self._answer(seen)
        self.refused += 1
        return Reply.error(400, f"Invalid request: {IDS_REFUSED} (in chat_template:1)")


@ON_TCP
@pytest.mark.parametrize("first", ["chat", "count_message_tokens"])
def test_ids_of_calls_are_shortened_after_a_refusal_and_from_then_on(
    client: Any, server: FakeServer, first: str
) -> None:
    strict = ShortIds(server)
    calls = [
        {"type": "function", "id": each, "function": {"name": "f", "arguments": "{}"}}
        for each in ("call_0123456789abcdef", "abcdefgh1", "toolu_01")
    ]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": call["id"]} for call in calls
    ]
    messages = [QUESTION, {"role": "assistant", "content": "", "tool_calls": calls}, *results]

    getattr(client, first)(messages)
    client.chat([*messages, QUESTION])

    _, asked, *answered, _ = server.posts[-1].json["messages"]
    assert 1 == strict.refused
    assert ids(asked) == [ids(result)[0] for result in answered]
    assert "abcdefgh1" == ids(asked)[1]
    assert [call["id"] for call in calls] == [result["content"] for result in answered]


# --------------------------------------------------------------------------- the engine

TEMPLATE = """{{ bos_token }}{% for message in messages %}\
{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
{% endif %}<start_of_turn>{{ message.role }}
{{ message.content }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""


@pytest.fixture
def engine(shell: str) -> Iterator[Any]:
    """The embedded engine with a strict template, and a client of each kind."""
    options: dict[str, Any] = {"model": "embedded", "chat_template": TEMPLATE}
    client = SyncClient(**options) if shell == "sync" else AsyncClient(**options)
    yield client
    client.shut_down()


@pytest.mark.engine
def test_a_real_template_is_served_joined_messages(engine: Any) -> None:
    messages = [SYSTEM, UNANSWERED, QUESTION]

    counted = engine.count_message_tokens(messages)
    reply = engine.complete_chat(messages, max_tokens=4)

    assert counted == reply.usage["prompt_tokens"]
    assert messages == engine.fit_messages(messages)
    with pytest.raises(openai.BadRequestError, match="must alternate"):
        engine.chat([ANSWER, QUESTION], max_tokens=4)


@pytest.mark.engine
def test_an_agent_goes_on_after_a_summary_and_an_unanswered_question() -> None:
    pytest.importorskip("langchain")
    from langchain.agents import create_agent
    from langchain.agents.middleware import SummarizationMiddleware

    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(model="embedded", chat_template=TEMPLATE, max_tokens=8, temperature=0) as model:
        middleware = SummarizationMiddleware(
            model=model, trigger=("messages", 4), keep=("messages", 2)
        )
        agent = create_agent(model, system_prompt="Be short.", middleware=[middleware])
        thread: list[Any] = [("user", "Are you there?"), ("user", "Hello?"), ("ai", "Yes.")]
        state = agent.invoke({"messages": [*thread, ("user", "Who are you?")]})
        again = agent.invoke({"messages": [*state["messages"], ("user", "And now?")]})

    assert "ai" == again["messages"][-1].type
    assert again["messages"][-1].text


@pytest.mark.engine
def test_a_chat_engine_of_llama_index_goes_on() -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import ChatMessage

    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(model="embedded", chat_template=TEMPLATE, max_tokens=4) as llm:
        messages = [ChatMessage("Be short.", role="system"), ChatMessage("a"), ChatMessage("b")]

        assert llm.chat(messages).message.content
