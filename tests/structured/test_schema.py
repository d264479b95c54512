"""Schemas: whole answers are read by them, and wrong ones are refused."""

from __future__ import annotations

import functools
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel, field_validator

from mlxcel_integrations import StructuredOutputError, StructuredOutputTruncated
from mlxcel_integrations.structured.formats import FORMAT_CHECKS, fits_format
from mlxcel_integrations.structured.type_schema import to_schema
from tests.fakes.schemas import instance
from tests.structured.labels import label
from tests.structured.schemas import JSON, schemas


class City(BaseModel):
    name: str
    people: int


OSLO = '{"name": "Oslo", "people": 7}'


def read(output_type: Any, text: str = "", finish: str | None = "stop") -> Any:
    return to_schema(output_type).validate(text, finish)


@pytest.mark.parametrize(
    "reply",
    [
        {"text": OSLO},
        {"text": f"\n {OSLO} \n"},
        {"text": OSLO, "finish": None},
        # The older server says so when the answer has exactly as many tokens as are allowed.
        {"text": OSLO, "finish": "length"},
    ],
)
def test_a_whole_answer_is_read(reply: dict[str, Any]) -> None:
    assert City(name="Oslo", people=7) == read(City, **reply)


@pytest.mark.parametrize(
    ("output_type", "text", "finish", "partial"),
    [
        (City, '{"name": "Os', "length", {"name": "Os"}),
        (City, '{"name": "Oslo", "people": 7', "length", {"name": "Oslo"}),
        (City, "{", "length", {}),
        (City, "", "length", None),
        (City, " ", "length", None),
        (City, '{"name": "Os', "stop", {"name": "Os"}),
        (City, '{"name": "Os', None, {"name": "Os"}),
        (list[str], '{"value": [ ', "stop", []),
        (list[int], '{"value": [1, 2', "length", [1]),
        (list[int], '{"val', "length", None),
        (Literal["ab"], '{"value": "a', "length", "a"),
        (dict[str, int], '{"a": 1, "b', "length", {"a": 1}),
        ({"type": "object"}, '{"a": [{}, ', "length", {"a": [{}]}),
    ],
)
def test_a_cut_answer_keeps_what_had_come(
    output_type: Any, text: str, finish: str, partial: Any
) -> None:
    with pytest.raises(StructuredOutputTruncated, match=r"before its JSON (ended|did) ") as caught:
        read(output_type, text, finish=finish)

    error = caught.value
    assert (text, finish, partial) == (error.raw, error.finish_reason, error.partial)


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        ("Oslo.", "stop"),
        ("", "stop"),
        ('```json\n{"name": "Oslo", "people": 7}\n```', "stop"),
        (OSLO + "}", "stop"),
        (OSLO + OSLO, "stop"),
        ('{"name": "Oslo" "people": 7}', "stop"),
        ("1" * 5000, "stop"),
        ('{"name": "Os\nlo", "people": 7}', "stop"),
        ("[" * 100_000 + "]" * 100_000, "stop"),
    ],
    ids=label,
)
def test_what_is_no_json_is_not_repaired(text: str, finish: str) -> None:
    with pytest.raises(StructuredOutputError, match="The answer is not JSON") as caught:
        read(City, text, finish=finish)

    assert StructuredOutputError is caught.type
    assert (text, finish) == (caught.value.raw, caught.value.finish_reason)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "finish", "message"),
    [
        (
            "Oslo.",
            "stop",
            "The answer is not JSON: 'Oslo.'. Check that the server supports response_format with "
            "a json_schema.",
        ),
        (
            "I cannot.",
            "refusal",
            "The answer is not JSON: 'I cannot.'. The model refused to answer: change the prompt, "
            "or ask another model.",
        ),
        (
            "{",
            "length",
            "The answer was cut before its JSON ended (finish_reason 'length'). Its text is in "
            ".raw, and its readable part in .partial; raise max_tokens, or ask for less.",
        ),
        *(
            (
                "{",
                finish,
                f"The server ended the answer before its JSON did (finish_reason {finish!r}). "
                "Its text is in .raw, and its readable part in .partial; ask again, or change the "
                "prompt or stop=.",
            )
            for finish in ("stop", None)
        ),
        *(
            (
                "x" * length,
                "stop",
                f"The answer is not JSON: '{shown}'. Check that the server supports "
                "response_format with a json_schema.",
            )
            for length, shown in ((200, "x" * 200), (201, "x" * 200 + "…"))
        ),
    ],
    ids=label,
)
def test_errors_say_what_to_do(text: str, finish: str | None, message: str) -> None:
    with pytest.raises(StructuredOutputError) as caught:
        read(City, text, finish=finish)

    assert message == str(caught.value)


class Distance(BaseModel):
    metres: int

    @field_validator("metres")
    @classmethod
    def _rounded(cls, given: int) -> int:
        return int(float(given))


def test_a_number_that_is_too_large_for_its_class_is_told() -> None:
    with pytest.raises(StructuredOutputError, match="a number or a depth that is too large"):
        read(Distance, json.dumps({"metres": 10**400}))


# --------------------------------------------------------------------------- random schemas


CHECKER = FormatChecker(())
for name in FORMAT_CHECKS:
    CHECKER.checks(name)(functools.partial(fits_format, name))


@given(schemas(), JSON)
def test_what_is_sent_means_what_was_given(given_schema: dict[str, Any], value: Any) -> None:
    """A value fits the given schema exactly if its answer fits the one that is sent."""
    schema = to_schema(given_schema)
    fits = Draft202012Validator(given_schema, format_checker=CHECKER).is_valid(value)
    answer = {"value": value} if schema.wrapped else value

    sent = Draft202012Validator(schema.json_schema, format_checker=CHECKER)
    assert fits == sent.is_valid(answer)
    assert fits == accepts(schema, answer)


@given(schemas())
def test_an_answer_by_the_sent_schema_is_read(given_schema: dict[str, Any]) -> None:
    schema = to_schema(given_schema)
    answer = instance(schema.json_schema, schema.json_schema)
    expected = answer["value"] if schema.wrapped else answer

    assert expected == schema.validate(json.dumps(answer))


def accepts(schema: Any, answer: Any) -> bool:
    try:
        schema.validate(json.dumps(answer))
    except StructuredOutputError:
        return False
    return True
