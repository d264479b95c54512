"""Thinking before an answer with a schema on the embedded engine: one request does both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer

pytestmark = pytest.mark.engine

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}Answer:\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}\n\n{% else %}Question: {{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer:\n<think>\n"
    "{% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}"
    "{% endif %}"
)
"""A template that opens the thoughts, as those of many models do. This model never closes them."""

Mood = Literal["good", "bad"]
SENTENCES = ("I love it.", "It broke.", "Great!", "What a mess.")
FIELDS: Any = {"schema": Mood, "reasoning": True, "temperature": 0}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ManagedServer("embedded", chat_template=TEMPLATE) as server:
        yield server.base_url


@pytest.fixture(scope="module")
def llm(address: str) -> Iterator[LLM]:
    with LLM(base_url=address) as model:
        yield model


def ask(llm: LLM, sentence: str, **limits: int) -> Any:
    return llm.complete_chat(f"Is '{sentence}' good or bad?", **FIELDS, **limits)


@pytest.mark.parametrize(
    "limits",
    [{"thinking_budget_tokens": 6, "max_tokens": 50}, {"max_tokens": 40}],
    ids=["a budget", "half of max_tokens"],
)
def test_thoughts_end_and_the_answer_fits(llm: LLM, limits: dict[str, int]) -> None:
    reply = ask(llm, SENTENCES[0], **limits)

    assert reply.reasoning
    assert reply.parsed in ("good", "bad")
    assert reply.usage["completion_tokens"] <= limits["max_tokens"]


def test_asynchronous_answers_are_the_same(llm: LLM, address: str) -> None:
    expected = ask(llm, SENTENCES[1], thinking_budget_tokens=6)

    async def answer() -> Any:
        async with AsyncLLM(base_url=address) as model:
            question = f"Is '{SENTENCES[1]}' good or bad?"
            return await model.complete_chat(question, **FIELDS, thinking_budget_tokens=6)

    reply = asyncio.run(answer())
    assert (expected.reasoning, expected.parsed) == (reply.reasoning, reply.parsed)


def test_without_reasoning_it_does_not_think(llm: LLM) -> None:
    reply = llm.complete_chat(f"Is '{SENTENCES[0]}' good?", schema=Mood, max_tokens=40)

    assert ("", True) == (reply.reasoning, reply.parsed in ("good", "bad"))


def test_of_twenty_answers_all_have_thoughts_and_a_valid_object(llm: LLM) -> None:
    questions = [f"{sentence} ({day})" for sentence in SENTENCES for day in range(5)]

    replies = [ask(llm, question, max_tokens=40) for question in questions]

    whole = [reply for reply in replies if reply.reasoning and reply.parsed in ("good", "bad")]
    assert len(whole) >= 0.95 * len(replies)
