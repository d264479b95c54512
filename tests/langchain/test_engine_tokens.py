"""Counts in ``ChatMlxcel`` are the prompt tokens that the embedded engine reports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.prompt_values import ChatPromptValue

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM
from mlxcel_integrations.transport.token_cache import TokenCache

pytestmark = pytest.mark.engine

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"name": "weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}

WORDS = [
    "Hello",
    " ",
    "\n",
    "Grüße",
    "안녕",
    "🎉",
    "<eos>",
    "<b>",
    "[INST]",
    "{}",
    "Question:",
    '"',
]
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), min_size=1, max_size=8).map("".join)
ROUND = [AIMessage("", tool_calls=[CALL]), ToolMessage("sunny", tool_call_id="c1")]


@st.composite
def chats(draw: st.DrawFn) -> list[BaseMessage]:
    chat: list[BaseMessage] = [SystemMessage(text) for text in draw(st.lists(TEXTS, max_size=1))]
    for question in draw(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=3)):
        chat.append(HumanMessage(question))
        chat += ROUND * draw(st.integers(0, 1))
        chat += [AIMessage(text) for text in draw(st.lists(TEXTS, max_size=1))]
    return chat


@pytest.fixture(scope="module")
def llm() -> Iterator[ChatMlxcel]:
    with ChatMlxcel(model="embedded", max_tokens=1, temperature=0) as model:
        yield model


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chat=chats(), with_tools=st.booleans())
def test_random_chats_have_the_tokens_that_their_usage_tells(
    llm: ChatMlxcel, chat: list[BaseMessage], with_tools: bool
) -> None:
    tools = [WEATHER] if with_tools else None
    message = llm.invoke(chat, **({"tools": tools} if tools else {}))

    assert message.usage_metadata is not None
    expected = message.usage_metadata["input_tokens"]
    assert expected == llm.get_num_tokens_from_messages(chat, tools)


@pytest.mark.parametrize("route", ["/v1/messages/count_tokens", "/apply-template"])
def test_the_other_ways_count_the_same(llm: ChatMlxcel, route: str) -> None:
    chat = [SystemMessage("Be brief."), HumanMessage("Weather?"), *ROUND, HumanMessage("And 🎉?")]
    expected = llm.get_num_tokens_from_messages(chat, [WEATHER])

    with ChatMlxcel(model="embedded", max_tokens=1) as other:
        other._connection.tokens.route = route
        # Unlike mlxcel v0.4.2, llama.cpp counts the first token once on every route.
        other._connection.tokens.surplus = 0
        assert expected == other.get_num_tokens_from_messages(chat, [WEATHER])
        assert route == other.counting_route


def test_async_counts_are_the_same(llm: ChatMlxcel) -> None:
    chat = [HumanMessage("What is a harbour?")]
    expected = llm.get_num_tokens_from_messages(chat)
    llm._connection.tokens.counts = TokenCache()

    assert expected == asyncio.run(llm.aget_num_tokens_from_messages(chat))


def test_trimming_and_fitting_leave_what_the_engine_takes() -> None:
    chat: list[BaseMessage] = [SystemMessage("Be brief.")]
    for index in range(30):
        chat += [HumanMessage(f"Question {index}? " + "word " * 20), AIMessage(f"Answer {index}.")]
    chat.append(HumanMessage("What is the capital of France?"))

    with ChatMlxcel(model="embedded", ctx_size=512, parallel=1, max_tokens=1) as llm:
        with pytest.raises(ContextOverflowError):
            llm.invoke(chat)
        fitted = llm.fit_messages(chat, reserve=100)
        trimmed = trim_messages(
            chat, max_tokens=300, token_counter=llm, include_system=True, start_on="human"
        )

        for shorter, most in ((fitted, 412), (trimmed, 300)):
            usage = llm.invoke(shorter).usage_metadata
            assert usage is not None
            assert most - 60 < usage["input_tokens"] <= most


def test_a_template_that_takes_only_conversations_can_be_trimmed_for() -> None:
    strict = (
        "{% for m in messages %}{% if loop.first and m.role == 'assistant' %}"
        "{{ raise_exception('the user must begin') }}{% endif %}{{ m.role }}: {{ m.content }}\n"
        "{% endfor %}"
    )
    chat: list[BaseMessage] = []
    for index in range(10):
        chat += [HumanMessage(f"Question {index}?"), AIMessage(f"Answer {index}.")]
    with ChatMlxcel(model="embedded", chat_template=strict, max_tokens=1) as llm:
        trimmed = trim_messages(chat, max_tokens=60, token_counter=llm, start_on="human")

        assert 2 <= len(trimmed) < len(chat)
        assert llm.get_num_tokens_from_messages(trimmed) <= 60


def test_the_prompt_of_a_text_model_has_as_many_tokens_as_it_is_counted() -> None:
    question = [HumanMessage("What is the capital of France?"), AIMessage("It is")]
    with MlxcelLLM(model="embedded", max_tokens=1, temperature=0) as llm:
        result = llm.generate_prompt([ChatPromptValue(messages=question)])
        counted = llm.get_num_tokens_from_messages(question)

    assert result.llm_output is not None
    assert counted == result.llm_output["token_usage"]["prompt_tokens"]
