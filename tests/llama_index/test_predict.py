"""Prompts whose answers an output parser of LlamaIndex reads, against scripted servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.output_parsers.selection import SelectionOutputParser
from llama_index.core.prompts import PromptTemplate
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector
from llama_index.core.tools import ToolMetadata
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from mlxcel_integrations import StructuredOutputError
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.server import FakeServer, Reply

CHOICES = ["Invoices", "Rivers"]
TOOLS = [ToolMetadata("About rivers.", name="rivers")]
QUERY = QueryBundle("Which river is long?")


class City(BaseModel):
    name: str


@pytest.fixture(params=["v0.4.2", "newest"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        yield running


def city_prompt() -> PromptTemplate:
    return PromptTemplate("Name a city of {country}.", output_parser=PydanticOutputParser(City))


SELECTION = {"choice": 1, "reason": "x"}
WAYS: dict[str, tuple[Callable[[Mlxcel], Any], Any]] = {
    "single selector": (
        lambda llm: LLMSingleSelector.from_defaults(llm).select(CHOICES, QUERY).ind,
        0,
    ),
    "single selector, async": (
        lambda llm: asyncio.run(LLMSingleSelector.from_defaults(llm).aselect(CHOICES, QUERY)).ind,
        0,
    ),
    "multi selector": (
        lambda llm: LLMMultiSelector.from_defaults(llm).select(CHOICES, QUERY).inds,
        [0],
    ),
    "multi selector, async": (
        lambda llm: asyncio.run(LLMMultiSelector.from_defaults(llm).aselect(CHOICES, QUERY)).inds,
        [0],
    ),
    "question generator": (
        lambda llm: LLMQuestionGenerator.from_defaults(llm).generate(TOOLS, QUERY)[0].tool_name,
        "x",
    ),
    "prompt": (lambda llm: llm.predict(city_prompt(), country="Norway"), '{"name": "x"}'),
}


@pytest.mark.parametrize(("ask", "expected"), WAYS.values(), ids=WAYS)
def test_the_answer_is_bound_to_what_the_parser_reads(
    server: FakeServer, llm: Mlxcel, ask: Callable[[Mlxcel], Any], expected: Any
) -> None:
    assert expected == ask(llm)
    assert ["json_schema"] == [post.json["response_format"]["type"] for post in server.posts]


@pytest.mark.parametrize(
    ("selector", "most"), [(LLMSingleSelector, 1), (LLMMultiSelector, 2)], ids=["single", "multi"]
)
def test_only_choices_that_exist_can_be_selected(
    server: FakeServer, llm: Mlxcel, selector: Any, most: int
) -> None:
    selector.from_defaults(llm).select(CHOICES, QUERY)

    [post] = server.posts
    schema = post.json["response_format"]["json_schema"]["schema"]["properties"]["value"]
    choice = schema["items"]["properties"]["choice"]
    assert (1, most) == (schema["minItems"], schema["maxItems"])
    assert (1, 2) == (choice["minimum"], choice["maximum"])


def test_an_answer_that_does_not_fit_is_asked_for_again(server: FakeServer, llm: Mlxcel) -> None:
    wrong, right = ({"value": [{**SELECTION, "choice": number}]} for number in (3, 2))
    server.script(Reply.text(json.dumps(wrong)), Reply.text(json.dumps(right)))

    assert 1 == LLMSingleSelector.from_defaults(llm).select(CHOICES, QUERY).ind

    server.script(Reply.text(json.dumps(wrong)), Reply.text(json.dumps(wrong)))
    with pytest.raises(StructuredOutputError, match="does not fit the schema"):
        LLMSingleSelector.from_defaults(llm).select(CHOICES, QUERY)


class OwnParser(SelectionOutputParser):
    """A parser that may read anything."""


def selector_prompt() -> PromptTemplate:
    return PromptTemplate("Choose.", output_parser=OwnParser())


OTHERS: dict[str, tuple[Callable[[], PromptTemplate], dict[str, Any]]] = {
    "no parser": (lambda: PromptTemplate("Choose."), {}),
    "a parser of the user": (selector_prompt, {}),
    "a program that was chosen": (city_prompt, {"pydantic_program_mode": PydanticProgramMode.LLM}),
    "a parser of the model": (city_prompt, {"output_parser": OwnParser()}),
}


@pytest.mark.parametrize(("prompt", "options"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("way", ["predict", "apredict"])
def test_other_answers_are_free(
    server: FakeServer, prompt: Callable[[], PromptTemplate], options: dict[str, Any], way: str
) -> None:
    server.script(Reply.text('[{"choice": 1, "reason": "x"}]'))
    with Mlxcel(base_url=server.url, **options) as llm:
        answer = getattr(llm, way)(prompt(), country="Norway")
        if way == "apredict":
            answer = asyncio.run(answer)

    assert "choice" in answer
    assert "response_format" not in server.posts[-1].json
