"""``LLM`` on the embedded engine: what only a real server can show."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from mlxcel_integrations import LLM, StructuredOutputTruncated
from tests.client.random_schemas import answers

pytestmark = pytest.mark.engine

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


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


def test_an_empty_stop_text_stops_nothing(llm: LLM) -> None:
    assert "Paris" in llm.chat("What is the capital of France?", max_tokens=8, stop=["", "zzz"])
    assert "five" in llm.generate("one, two, three, four,", max_tokens=4, stop="")


def test_a_stop_text_does_not_end_json(llm: LLM) -> None:
    wanted: dict[str, Any] = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    tool: Any = {"type": "function", "function": {"name": "plan", "parameters": SCHEMA}}

    assert SCHEMA["properties"].keys() == llm.chat("Oslo", schema=SCHEMA, stop=["city"]).keys()
    text = llm.generate("A trip to Oslo:", response_format=wanted, stop=["city"], max_tokens=64)
    assert SCHEMA["properties"].keys() == json.loads(text).keys()
    reply = llm.complete_chat("Oslo", tools=[tool], tool_choice="plan", stop=["city"])
    assert reply.tool_calls is not None
    arguments = reply.tool_calls[0]["function"]["arguments"]
    assert SCHEMA["properties"].keys() == json.loads(arguments).keys()


def test_quick_calls_in_a_row_lose_no_connection(llm: LLM) -> None:
    answers = {llm.chat("What is the capital of France?", max_tokens=1) for _ in range(50)}

    assert 1 == len(answers)


Word = Annotated[str, Field(max_length=12)]


class Capital(BaseModel):
    city: Word
    country: Annotated[Word, Field(alias="land")]


@dataclasses.dataclass
class Walk:
    towns: Annotated[list[Word], Field(max_length=2)]
    next: Walk | None


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


KINDS: list[tuple[Any, Any]] = [
    (Capital, Capital),
    (Colour, Colour),
    (Literal["yes", "no"], str),
    (bool, bool),
    (Annotated[int, Field(ge=0, le=99)], int),
    (Annotated[list[Capital], Field(min_length=1, max_length=1)], list),
    (Capital | None, Capital | None),
    ({"type": "array", "items": {"enum": ["a", 1]}, "minItems": 2, "maxItems": 2}, list),
    ({"name": "trip", "parameters": SCHEMA}, dict),
]


@pytest.mark.parametrize(("kind", "expected"), KINDS, ids=lambda value: repr(value)[:30])
def test_answers_are_objects(llm: LLM, kind: Any, expected: Any) -> None:
    assert isinstance(llm.chat("The capital of France?", schema=kind, max_tokens=400), expected)


def test_a_boolean_schema_that_it_cannot_compile_is_sent_again_as_another(llm: LLM) -> None:
    """It answers "schema must be an object" to the first request."""
    pair = {"type": "array", "prefixItems": [{"const": "x"}, {"const": 1}], "minItems": 2}

    assert ["x", 1] == llm.chat("Answer.", schema={**pair, "items": False}, max_tokens=60)


LIST: dict[str, Any] = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"const": 1}]}, "any": True},
}


@pytest.mark.parametrize("choice", ["auto", "required", "f"])
def test_tools_may_refer_to_their_whole_parameters(llm: LLM, choice: str) -> None:
    """It refuses ``#``, and ``true`` as a schema, in tools as well."""
    tool = {"type": "function", "function": {"name": "f", "parameters": LIST}}

    reply = llm.complete_chat("Call f.", tools=[tool], tool_choice=choice, max_tokens=30)
    assert reply.finish_reason in ("stop", "length", "tool_calls")


def test_a_schema_may_refer_to_itself(llm: LLM) -> None:
    schema = {**LIST, "properties": {"next": LIST["properties"]["next"]}, "required": ["next"]}

    with contextlib.suppress(StructuredOutputTruncated):  # it may go on and on
        assert "next" in llm.chat("Answer.", schema=schema, max_tokens=20, max_attempts=1)


def test_objects_fill_while_they_are_streamed(llm: LLM) -> None:
    seen = list(llm.chat_stream("The capital of France?", schema=Capital, max_tokens=400))

    assert {Capital} == {type(capital) for capital in seen}
    assert seen[-1].city.startswith(seen[1].city or "")
    assert len(seen) > 3


def test_a_cut_answer_says_so(llm: LLM) -> None:
    """Only ``max_tokens`` would end it."""
    with pytest.raises(StructuredOutputTruncated) as caught:
        llm.chat("Where to?", schema={"type": "array", "minItems": 15, "items": {"type": "null"}},
                 max_tokens=20)  # fmt: skip

    assert "length" == caught.value.finish_reason


def test_every_whole_answer_to_a_random_schema_fits_it(llm: LLM) -> None:
    whole, cut = answers(llm, 10)

    assert 10 == whole + cut
    assert whole >= 3
