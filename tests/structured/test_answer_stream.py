"""Structured output: what is sent for a schema, and what is made of the answer."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, model_validator

from mlxcel_integrations import (
    ChatReply,
    MlxcelError,
    StructuredOutputError,
    StructuredOutputTruncated,
)
from mlxcel_integrations.protocol.stream import Delta
from mlxcel_integrations.structured.answer_stream import (
    AnswerStream,
    constrained,
    portable_format,
    schema_text,
    with_schema_shown,
)
from mlxcel_integrations.structured.request import ask
from mlxcel_integrations.structured.schema import Schema
from mlxcel_integrations.structured.type_schema import to_schema
from tests.fakes.replies import instance
from tests.structured.labels import label
from tests.structured.schemas import JSON, schemas, v1


class City(BaseModel):
    name: str
    people: int


SCHEMA = to_schema(City)
SHOWN = "Answer with JSON that fits this JSON schema:\n" + json.dumps(
    SCHEMA.json_schema, separators=(",", ":")
)
OSLO = '{"name": "Oslo", "people": 7}'


# --------------------------------------------------------------------------- what is sent

QUESTION = {"role": "user", "content": "Where?"}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("Where?", [{"role": "system", "content": SHOWN}, QUESTION]),
        ([QUESTION], [{"role": "system", "content": SHOWN}, QUESTION]),
        (
            [{"role": "system", "content": "Be brief."}, QUESTION],
            [{"role": "system", "content": f"Be brief.\n\n{SHOWN}"}, QUESTION],
        ),
        (
            [{"role": "developer", "content": "Be brief.", "name": "x"}, QUESTION],
            [{"role": "developer", "content": f"Be brief.\n\n{SHOWN}", "name": "x"}, QUESTION],
        ),
        (
            [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}],
            [{"role": "system", "content": [
                {"type": "text", "text": "Be brief."}, {"type": "text", "text": SHOWN}
            ]}],
        ),
        ([{"role": "system", "content": None}], [{"role": "system", "content": SHOWN}]),
        ([], []),
        (["Where?"], ["Where?"]),
    ],
)  # fmt: skip
def test_the_schema_is_shown_in_the_system_message(messages: Any, expected: Any) -> None:
    before = repr(messages)

    assert expected == with_schema_shown(SCHEMA.json_schema, messages)
    assert before == repr(messages)


def test_an_answer_by_a_schema_is_written_without_thinking() -> None:
    fields = constrained(SCHEMA, {"top_k": 3})

    assert {"enable_thinking": False} == fields["chat_template_kwargs"]
    assert (3, SCHEMA.response_format) == (fields["top_k"], fields["response_format"])


def test_two_schemas_are_one_too_many() -> None:
    with pytest.raises(MlxcelError, match=r"schema and response_format .* drop one"):
        ask("Where?", {"response_format": {"type": "text"}}, City, True)


def test_without_a_schema_nothing_changes() -> None:
    question = ask("Where?", {"top_k": 3}, None, True)
    reply = ChatReply("Here.")

    assert ("Where?", {"top_k": 3}) == (question.messages, question.sampling)
    assert reply is question.read(reply)


@pytest.mark.parametrize(
    ("show", "expected"),
    [(False, "Where?"), (True, [{"role": "system", "content": SHOWN}, QUESTION])],
)
def test_the_schema_need_not_be_shown(show: bool, expected: Any) -> None:
    assert expected == ask("Where?", {}, City, show).messages


def test_a_model_with_tools_is_told_that_it_may_call_one() -> None:
    begins = "Call a tool, or answer with JSON that fits this JSON schema:\n"
    shown = with_schema_shown(SCHEMA.json_schema, "Where?", tools=True)

    assert schema_text(SCHEMA.json_schema, tools=True) == shown[0]["content"]  # type: ignore[index] # a message
    assert SHOWN.replace("Answer with JSON that fits this JSON schema:\n", begins) == schema_text(
        SCHEMA.json_schema, tools=True
    )
    assert SHOWN == schema_text(SCHEMA.json_schema)


def given_format(schema: Any) -> dict[str, Any]:
    inner = {"name": "f", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": inner, "extra": 1}


def test_a_format_of_somebody_else_is_sent_as_every_engine_takes_it() -> None:
    name = {"type": "string", "pattern": "(?=a)"}
    sent = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": False,
    }
    given = given_format({"type": "object", "properties": {"a": name}, "x-mine": 1})

    assert given_format(sent) == portable_format(given)
    assert given_format({"type": "object", "properties": {"a": name}, "x-mine": 1}) == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (given_format({"type": "objekt"}), "no JSON schema at /type"),
        (given_format({"enum": ["x" * 70_000]}), "has 700.. bytes"),
        ({"type": "json_schema"}, "is no JSON schema"),
        ({"type": "json_schema", "name": "f", "schema": {"type": "object"}}, "where servers look"),
        ({"type": "json_schema", "json_schema": {"name": "f"}}, "where servers look"),
    ],
    ids=label,
)
def test_a_format_that_no_server_takes_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        portable_format(given)


def test_closing_a_schema_may_make_it_too_long() -> None:
    """What is sent is checked as well as what was given."""
    fields = {f"f{at:04}": {"type": "object", "properties": {}} for at in range(1_300)}

    with pytest.raises(MlxcelError, match=r"has \d+ bytes"):
        portable_format(given_format({"type": "object", "properties": fields}))


# --------------------------------------------------------------------------- what is read


def read(kind: Any, text: str = "", finish: str | None = "stop") -> Any:
    reply = ChatReply(text, finish_reason=finish)
    return ask("Where?", {}, kind, True).read(reply).parsed


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
    ("kind", "text", "finish", "partial"),
    [
        (City, '{"name": "Os', "length", {"name": "Os"}),
        (City, '{"name": "Oslo", "people": 7', "length", {"name": "Oslo"}),
        (City, "{", "length", {}),
        (City, "", "length", None),
        (City, " ", "length", None),
        (City, '{"name": "Os', "stop", {"name": "Os"}),
        (City, '{"name": "Os', None, {"name": "Os"}),
        (list[int], '{"value": [1, 2', "length", [1]),
        (list[int], '{"val', "length", None),
        (Literal["ab"], '{"value": "a', "length", "a"),
        (dict[str, int], '{"a": 1, "b', "length", {"a": 1}),
        ({"type": "object"}, '{"a": [{}, ', "length", {"a": [{}]}),
    ],
)
def test_a_cut_answer_keeps_what_had_come(kind: Any, text: str, finish: str, partial: Any) -> None:
    with pytest.raises(StructuredOutputTruncated, match="cut before its JSON ended") as caught:
        read(kind, text, finish=finish)

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
            "{",
            "length",
            "The answer was cut before its JSON ended (finish_reason 'length'). Its text is in "
            ".raw, what can be read of it in .partial; raise max_tokens, or ask for less.",
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
def test_errors_say_what_to_do(text: str, finish: str, message: str) -> None:
    with pytest.raises(StructuredOutputError) as caught:
        read(City, text, finish=finish)

    assert message == str(caught.value)


# --------------------------------------------------------------------------- random schemas


@given(schemas(), JSON)
def test_what_is_sent_means_what_was_given(given_schema: dict[str, Any], value: Any) -> None:
    """A value fits the given schema exactly if its answer fits the one that is sent."""
    schema = to_schema(given_schema)
    fits = Draft202012Validator(given_schema).is_valid(value)
    answer = {"value": value} if schema.wrapped else value

    assert fits == Draft202012Validator(schema.json_schema).is_valid(answer)
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


# --------------------------------------------------------------------------- streams


def streamed(kind: Any, pieces: Iterable[str | Delta], *, partial: bool = True) -> list[Any]:
    answers = AnswerStream(to_schema(kind), partial=partial)
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


@pytest.mark.parametrize(("kind", "pieces", "expected"), STREAMS, ids=label)
def test_objects_fill_as_they_come(kind: Any, pieces: list[str], expected: list[Any]) -> None:
    assert expected == streamed(kind, pieces)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (None, ['{"na', 'me": "Oslo", "people": 7}']),
        (City, [City.model_construct(name=None, people=None), city("Oslo", 7), city("Oslo", 7)]),
    ],
)
def test_a_question_knows_how_its_streamed_answer_is_read(kind: Any, expected: list[Any]) -> None:
    answers = ask("Where?", {}, kind, True).answers()
    deltas = [Delta(OSLO[:4]), Delta(), Delta(OSLO[4:])]

    assert expected == [
        *(value for delta in deltas for value in answers.feed(delta)),
        *answers.close(),
    ]


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


def test_only_valid_prefixes_without_partial() -> None:
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
    ("kind", "partial", "seconds"),
    [(Records.model_json_schema(), True, 1), (Records, True, 2), (Records, False, 2)],
    ids=["json", "objects", "valid objects"],
)
def test_100_kilobytes_stream_in_no_time(kind: Any, partial: bool, seconds: float) -> None:
    record = {"id": 12345, "name": "x" * 40, "tags": ["a", "b"]}
    text = json.dumps({"records": [record] * 1200})
    size = len(text) // 10_000
    pieces = [text[at : at + size] for at in range(0, len(text), size)]

    # The time of this thread alone: tests share the machine with others.
    started = time.thread_time()
    values = streamed(kind, pieces, partial=partial)
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
