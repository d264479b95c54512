"""Streamed answers as values that fill."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, Field, model_validator

from mlxcel_integrations import StructuredOutputError, StructuredOutputTruncated
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.structured.answer_stream import AnswerStream
from mlxcel_integrations.structured.schema import Schema
from mlxcel_integrations.structured.type_schema import to_schema
from tests.structured.labels import label
from tests.structured.schemas import v1


class City(BaseModel):
    name: str
    people: int


SCHEMA = to_schema(City)
OSLO = '{"name": "Oslo", "people": 7}'


def streamed(output_type: Any, pieces: Iterable[str | Delta], *, partial: bool = True) -> list[Any]:
    answers = AnswerStream(to_schema(output_type), partial=partial)
    values: list[Any] = []
    for piece in pieces:
        values += answers.feed(Delta(piece) if isinstance(piece, str) else piece)
    return [*values, *answers.close()]


@dataclasses.dataclass(frozen=True, slots=True)
class Trip:
    day: datetime.date
    stops: list[City] = dataclasses.field(default_factory=list)
    back: Trip | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


class Strict(BaseModel):
    first: str = Field(alias="FIRST", min_length=3)
    second: str

    @model_validator(mode="after")
    def _check(self) -> Strict:
        assert self.first < self.second
        return self


class Note(TypedDict, total=False):
    text: str
    marks: tuple[int, str]


def city(name: str | None = None, people: int | None = None) -> City:
    return City.model_construct(name=name, people=people)


def strict(first: str | None = None, second: str | None = None) -> Strict:
    return Strict.model_construct(FIRST=first, second=second)


DAY = datetime.date(2026, 1, 2)


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Mixed(BaseModel):
    level: Level = Level.HIGH
    words: set[str] = set()
    by_name: dict[str, City] = {}
    bare: Any = None
    many: Sequence[Annotated[float, Field(ge=0)]] = ()


FULL = Mixed(
    level=Level.LOW, words={"a", "b"}, by_name={"A": city("A", 1)}, bare={"x": [1]}, many=[1, 2.5]
)


class OldCity(v1.BaseModel):
    name: str = v1.Field(alias="title")
    people: int | None = None


def old(name: str) -> OldCity:
    return OldCity.construct(name=name, people=None)


STREAMS: list[tuple[Any, Sequence[str], list[Any]]] = [
    (
        City,
        ["{", '"name": "', "Os", "lo", '"', ', "people":', " 7", "}"],
        [city(), city(""), city("Os"), city("Oslo"), city("Oslo", 7), City(name="Oslo", people=7)],
    ),
    (
        Trip,
        ['{"day": "2026-', '01-02",', '"stops": [', "{", '"name": "', 'A", "people": 1}', "]}"],
        [
            Trip(None),  # type: ignore[arg-type] # what has not come is None
            Trip(DAY),
            Trip(DAY, [city()]),
            Trip(DAY, [city("")]),
            Trip(DAY, [city("A", 1)]),
            Trip(DAY, [city("A", 1)]),
        ],
    ),
    (
        Strict,
        ['{"FIRST": "', "ab", 'c", "second": "b', '"}'],
        [strict(""), strict("ab"), strict("abc", "b"), strict("abc", "b")],
    ),
    (
        list[Cat | Dog],
        ['{"value": [', '{"kind": "', 'cat"}', ', {"kind": "dog"}', "]}"],
        [
            [],
            [Cat.model_construct(kind=None)],
            [Cat(kind="cat")],
            [Cat(kind="cat"), Dog(kind="dog")],
            [Cat(kind="cat"), Dog(kind="dog")],
        ],
    ),
    (
        Note,
        ["{", '"text": "a', '"', ', "marks": [1, ', '"b"]}'],
        [{}, {"text": "a"}, {"text": "a", "marks": (1, "b")}, {"text": "a", "marks": (1, "b")}],
    ),
    (
        Mixed,
        [
            '{"level": "l',
            'ow", "words": ["a", "b"',
            '], "by_name": {"A": {"name": "A"',
            ', "people": 1}}, "bare": {"x": [1',
            ']}, "many": [1, 2.5]',
            "}",
        ],
        [
            Mixed(),
            Mixed(level=Level.LOW, words={"a", "b"}),
            Mixed.model_construct(level=Level.LOW, words={"a", "b"}, by_name={"A": city("A")}),
            Mixed(level=Level.LOW, words={"a", "b"}, by_name={"A": city("A", 1)}, bare={"x": []}),
            FULL,
            FULL,
        ],
    ),
    (OldCity, ['{"title": "O', 'slo"}'], [old("O"), old("Oslo"), old("Oslo")]),
    (
        {"type": "array", "items": {"type": "integer"}},
        ['{"value"', ": [", "1", ", 2", "]}"],
        [[], [1], [1, 2], [1, 2]],
    ),
    (Literal["ab", "ac"], ['{"value": "a', 'b"', "}"], ["ab", "ab"]),
]


@pytest.mark.parametrize(("output_type", "pieces", "expected"), STREAMS, ids=label)
def test_objects_fill_as_they_come(
    output_type: Any, pieces: list[str], expected: list[Any]
) -> None:
    assert expected == streamed(output_type, pieces)


def test_null_is_a_value() -> None:
    assert [None, None] == streamed(City | None, ['{"value": null}'])


def test_a_long_answer_has_a_value_for_each_three_thousandth() -> None:
    answers = AnswerStream(to_schema({"type": "object"}), partial=True)
    begin = '{"a": "'
    first = list(answers.feed(Delta(begin + "x" * (6_500 - len(begin)))))
    more = [list(answers.feed(Delta("x"))) for _ in range(6)]

    assert 1 == len(first)
    assert [0, 1, 0, 1, 0, 1] == [len(values) for values in more]


def test_a_long_answer_is_checked_whenever_it_grew_by_a_fiftieth() -> None:
    checked: list[Any] = []
    schema = Schema("f", {"type": "object"}, False, dict, checked.append)
    answers = AnswerStream(schema, partial=False)
    for piece in ['{"a": "', *"x" * 500]:
        list(answers.feed(Delta(piece)))

    assert [{"a": "x" * count} for count in range(51)] == checked[:51]
    assert 100 < len(checked) < 200


def test_the_last_value_of_a_stream_is_checked() -> None:
    answers = AnswerStream(SCHEMA, partial=True)
    for piece in ['{"name": "Oslo"', ', "people": "many"}']:
        list(answers.feed(Delta(piece)))

    with pytest.raises(StructuredOutputError, match="at /people"):
        answers.close()


def test_a_stream_that_is_cut_says_so() -> None:
    answers = AnswerStream(SCHEMA, partial=True)
    list(answers.feed(Delta('{"name": "Oslo"')))
    list(answers.feed(Delta(finish_reason="length")))

    with pytest.raises(StructuredOutputTruncated) as caught:
        answers.close()
    assert ("length", {"name": "Oslo"}) == (caught.value.finish_reason, caught.value.partial)


def test_a_stream_of_something_else_says_so_at_its_end() -> None:
    answers = AnswerStream(SCHEMA, partial=True)

    assert [[], [], []] == [list(answers.feed(Delta(piece))) for piece in ("Oh", OSLO, "!")]
    with pytest.raises(StructuredOutputError, match="not JSON: 'Oh") as caught:
        answers.close()
    assert caught.value.finish_reason is None


def test_only_valid_prefixes_come_without_partial() -> None:
    class Joke(BaseModel):
        setup: str
        punchline: str

    pieces = ["{", '"setup": "Wh', 'y?"', ', "punchline": "', "Be", 'cause."', "}"]
    expected = [Joke(setup="Why?", punchline=text) for text in ("", "Be", "Because.", "Because.")]

    assert expected == streamed(Joke, pieces, partial=False)


def test_a_class_that_names_one_of_a_function_streams_as_far_as_it_can() -> None:
    class Town(BaseModel):
        name: str

    @dataclasses.dataclass
    class Way:
        to: Town
        days: int

    class Plan(BaseModel):
        way: Way

    last = streamed(Plan, ['{"way": {"to": {"name": "Oslo"}', ', "days": 3}}'], partial=True)[-1]

    assert Plan(way=Way(Town(name="Oslo"), 3)) == last


class Record(BaseModel):
    id: int
    name: str
    tags: list[str]


class Records(BaseModel):
    records: list[Record]


@pytest.mark.parametrize(
    ("output_type", "partial", "seconds"),
    [(Records.model_json_schema(), True, 1), (Records, True, 2), (Records, False, 2)],
    ids=["json", "objects", "valid objects"],
)
def test_100_kilobytes_stream_in_no_time(output_type: Any, partial: bool, seconds: float) -> None:
    record = {"id": 12345, "name": "x" * 40, "tags": ["a", "b"]}
    text = json.dumps({"records": [record] * 1200})
    size = len(text) // 10_000
    pieces = [text[at : at + size] for at in range(0, len(text), size)]

    # The time of this thread alone: tests share the machine with others.
    started = time.thread_time()
    values = streamed(output_type, pieces, partial=partial)
    took = time.thread_time() - started

    assert len(text) > 100_000
    assert len(values) > 50
    assert took < seconds


def test_values_that_were_streamed_do_not_change() -> None:
    pieces = [
        '{"value": [{"name": "O',
        "slo",
        '", "people": 7}',
        ", {",
        '"name": "Rome"',
        ', "people": 8}]}',
    ]
    oslo, rome = City(name="Oslo", people=7), City(name="Rome", people=8)

    assert [
        [city("O")],
        [city("Oslo")],
        [oslo],
        [oslo, city()],
        [oslo, city("Rome")],
        [oslo, rome],
        [oslo, rome],
    ] == streamed(list[City], pieces)
