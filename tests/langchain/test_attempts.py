"""Further attempts at structured answers of ``ChatMlxcel``: runs, token counts, errors."""

from __future__ import annotations

import asyncio
import functools
import operator
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain import ChatMlxcel
from tests.client.test_structured_endings import pieces
from tests.fakes.server import FakeServer, Reply
from tests.langchain.test_answer_parser import (
    ALL_WAYS,
    CUT,
    OSLO,
    PARSERS,
    Ask,
    City,
    Row,
    Runs,
    astream,
    stream,
    tree,
)

MISFIT = '{"name": "Oslo", "people": "many"}'


@ALL_WAYS
@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize("text", [MISFIT, CUT], ids=["misfit", "cut"])
def test_each_attempt_is_a_run_of_the_model_and_of_the_parser(
    server: FakeServer, llm: ChatMlxcel, ask: Ask, kind: Any, text: str
) -> None:
    text = text.replace('"Oslo"', "7")  # a row has only a name
    server.script(Reply.text(text), Reply.text(OSLO))
    runs = Runs()

    answer = ask(llm.with_structured_output(kind), "x", {"callbacks": [runs]})

    assert "Oslo" == (answer["name"] if kind is Row else answer.name)
    model, parser = ["llm", "ChatMlxcel", False], ["parser", PARSERS[kind]]
    attempts = [model, [*parser, True], model, [*parser, False]]
    assert [["chain", "RunnableSequence", False, *attempts]] == list(map(tree, runs.roots))
    assert "Your last answer" in server.posts[1].json["messages"][-1]["content"]


@ALL_WAYS
def test_with_include_raw_no_run_of_an_attempt_fails(
    server: FakeServer, llm: ChatMlxcel, ask: Ask
) -> None:
    server.script(Reply.text(MISFIT), Reply.text(OSLO))
    runs = Runs()

    ask(llm.with_structured_output(City, include_raw=True), "x", {"callbacks": [runs]})

    attempt = [["llm", "ChatMlxcel", False], ["parser", PARSERS[City], False]]
    assert [["chain", "RunnableSequence", False, *attempt * 2]] == list(map(tree, runs.roots))


@ALL_WAYS
@pytest.mark.parametrize("observed", [False, True])
def test_with_include_raw_the_last_attempt_counts_the_tokens_of_all(
    server: FakeServer, llm: ChatMlxcel, ask: Ask, observed: bool
) -> None:
    server.script(Reply.text(MISFIT), *[Reply.text(OSLO)] * 2)
    config: Any = {"callbacks": [Runs()]} if observed else None
    model = llm.with_structured_output(City, include_raw=True)

    both, one = [all_parts(ask, model, config) for _ in range(2)]

    for answer in (both, one):
        assert (City(name="Oslo", people=7), None) == (answer["parsed"], answer["parsing_error"])
        assert OSLO == answer["raw"].text
    spent = [answer["raw"].usage_metadata["total_tokens"] for answer in (both, one)]
    assert spent[0] > spent[1]


@ALL_WAYS
def test_an_answer_without_token_counts_has_those_of_the_attempts_before(
    server: FakeServer, llm: ChatMlxcel, ask: Ask
) -> None:
    """Such as one that is left as soon as its JSON is complete."""
    server.script(Reply.text(MISFIT), pieces(OSLO, *["\n"] * 100))
    model = llm.with_structured_output(City, include_raw=True)

    answer = all_parts(ask, model, None)

    assert OSLO == answer["raw"].text.strip()
    assert answer["raw"].usage_metadata["input_tokens"] > 0


def all_parts(ask: Ask, model: Any, config: Any) -> Any:
    """Return an answer; of a stream, the sum of its parts."""
    if ask is stream:
        return functools.reduce(operator.add, model.stream("x", config))
    if ask is astream:

        async def collect() -> list[Any]:
            return [part async for part in model.astream("x", config)]

        return functools.reduce(operator.add, asyncio.run(collect()))
    return ask(model, "x", config)


@ALL_WAYS
@pytest.mark.parametrize("observed", [False, True])
def test_with_include_raw_the_error_of_the_last_attempt_is_returned(
    server: FakeServer, llm: ChatMlxcel, ask: Ask, observed: bool
) -> None:
    server.script(*[Reply.text(MISFIT)] * 2)
    config: Any = {"callbacks": [Runs()]} if observed else None

    answer = ask(llm.with_structured_output(City, include_raw=True), "x", config)

    assert isinstance(answer["parsing_error"], OutputParserException)
    assert 2 == len(server.posts)


@pytest.mark.parametrize("most", [0, 1.5])
def test_there_is_at_least_one_attempt(llm: ChatMlxcel, most: Any) -> None:
    with pytest.raises(MlxcelError, match="max_attempts="):
        llm.with_structured_output(City, max_attempts=most)
