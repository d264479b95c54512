"""``LLM`` on the embedded engine: what only a real server can show."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mlxcel_integrations import LLM

pytestmark = pytest.mark.engine

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(model="embedded") as model:
        yield model


def test_it_tells_what_it_is(llm: LLM) -> None:
    assert ["embedded"] == llm.models()
    assert ("llama.cpp", True) == (llm.features.engine, llm.features.tools)
    assert llm.features.slots
    assert llm.features.context_size


def test_chat_and_completion_answer(llm: LLM) -> None:
    assert "Paris" in llm.chat("What is the capital of France?", max_tokens=8)
    assert "five" in llm.generate("one, two, three, four,", max_tokens=4)


def test_both_follow_a_schema(llm: LLM) -> None:
    answers = [
        llm.chat("A trip of 3 days to Oslo as JSON:", response_format=FORMAT, max_tokens=64),
        llm.generate("A trip of 3 days to Oslo as JSON:", response_format=FORMAT, max_tokens=64),
    ]

    assert [{"city", "days"}] * 2 == [set(json.loads(answer)) for answer in answers]


def test_token_counts_are_those_of_the_server(llm: LLM) -> None:
    text = "Grüße aus Seoul: 안녕하세요"
    reply = llm.complete_chat("hi", max_tokens=4)

    assert text == llm.detokenize(llm.tokenize(text))
    assert reply.usage is not None
    assert 4 >= reply.usage["completion_tokens"] > 0


def test_penalties_reach_it_under_the_names_it_knows(llm: LLM) -> None:
    """An unknown field would be ignored in silence, and the answer be the same."""
    question = "Repeat the word tree many times: tree tree tree"
    plain = llm.generate(question, max_tokens=16, temperature=0)
    penalised = llm.generate(question, max_tokens=16, temperature=0, repetition_penalty=3.0)

    assert plain != penalised


def test_quick_calls_in_a_row_lose_no_connection(llm: LLM) -> None:
    answers = {llm.chat("What is the capital of France?", max_tokens=1) for _ in range(50)}

    assert 1 == len(answers)
