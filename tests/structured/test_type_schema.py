"""A schema of any kind becomes one that every server takes, and reads the answer."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import pydantic
import pytest
import typing_extensions
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import ReadOnly

from mlxcel_integrations import MlxcelError, StructuredOutputError
from mlxcel_integrations.structured.schema import Schema
from mlxcel_integrations.structured.type_schema import CACHED, to_schema
from tests.structured.labels import label
from tests.structured.schemas import v1


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = Field(30, alias="years")


class OldPerson(v1.BaseModel):
    name: str
    age: int = v1.Field(30, alias="years")


class OldTeam(v1.BaseModel):
    members: list[OldPerson]
    pair: tuple[int, str] = (1, "a")


class Node(BaseModel):
    value: int
    next: Node | None = None


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Zoo(BaseModel):
    animal: Cat | Dog = Field(discriminator="kind")


class Open(BaseModel, extra="allow"):
    name: str


@dataclasses.dataclass
class Event:
    when: datetime.date
    who: list[Person] = dataclasses.field(default_factory=list)


class Movie(TypedDict, total=False):
    """A film."""

    title: Required[str]
    year: Annotated[int, Field(ge=1900)]


class Cinema(typing_extensions.TypedDict):
    shows: list[Movie | None]


class Ticket(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc] # Pydantic's own way
    seat: ReadOnly[int]
    row: NotRequired[ReadOnly[str]]


class Boundless(BaseModel):
    low: float = -math.inf
    high: Annotated[float, Field(le=math.inf)] = math.inf
    by_name: dict[str, float] = {"a": math.inf}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


DRAFT_4 = "http://json-schema.org/draft-04/schema#"
TOM = Person(name="Tom", years=5)
PERSON = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}
LISTED = {"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "integer"}}}
NESTED = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}}]}

OBJECTS: list[tuple[Any, str, str, Any]] = [
    (Person, "Person", '{"name": "Tom", "years": 5}', TOM),
    (OldPerson, "OldPerson", '{"name": "Tom"}', OldPerson(name="Tom")),
    (
        OldTeam,
        "OldTeam",
        '{"members": [{"name": "Tom"}], "pair": [2, "b"]}',
        OldTeam(members=[OldPerson(name="Tom")], pair=(2, "b")),
    ),
    (Node, "Node", '{"value": 1, "next": {"value": 2}}', Node(value=1, next=Node(value=2))),
    (Zoo, "Zoo", '{"animal": {"kind": "dog"}}', Zoo(animal=Dog(kind="dog"))),
    (
        Event,
        "Event",
        '{"when": "2026-01-02", "who": [{"name": "Tom", "years": 5}]}',
        Event(datetime.date(2026, 1, 2), [TOM]),
    ),
    (Movie, "Movie", '{"title": "Heat"}', {"title": "Heat"}),
    (
        Cinema,
        "Cinema",
        '{"shows": [{"title": "Heat"}, null]}',
        {"shows": [{"title": "Heat"}, None]},
    ),
    (Ticket, "Ticket", '{"seat": 7}', {"seat": 7}),
    (Boundless, "Boundless", '{"low": 1}', Boundless(low=1)),
    (dict[str, int], "answer", '{"a": 1}', {"a": 1}),
    (PERSON, "Person", '{"name": "Tom"}', {"name": "Tom"}),
    ({**PERSON, "title": "a person!"}, "a_person", '{"name": "Tom"}', {"name": "Tom"}),
    ({**PERSON, "title": "日本"}, "answer", '{"name": "Tom"}', {"name": "Tom"}),
    ({**PERSON, "title": "x" * 99}, "x" * 64, '{"name": "Tom"}', {"name": "Tom"}),
    ({"properties": PERSON["properties"]}, "answer", '{"name": "Tom"}', {"name": "Tom"}),
    ({"name": "f", "parameters": PERSON}, "f", '{"name": "Tom"}', {"name": "Tom"}),
    ({"name": "f", "description": "Does nothing."}, "f", "{}", {}),
    ({"name": "f", "schema": PERSON, "strict": True}, "f", '{"name": "Tom"}', {"name": "Tom"}),
    (
        {"type": "function", "function": {"name": "f", "parameters": PERSON}},
        "f",
        '{"name": "Tom"}',
        {"name": "Tom"},
    ),
    (
        {"type": "function", "name": "f", "parameters": PERSON},
        "f",
        '{"name": "Tom"}',
        {"name": "Tom"},
    ),
    (
        {"type": "json_schema", "json_schema": {"name": "f", "schema": PERSON}},
        "f",
        '{"name": "Tom"}',
        {"name": "Tom"},
    ),
]
OTHERS: list[tuple[Any, str, Any]] = [
    (Colour, '"red"', Colour.RED),
    (Level, "2", Level.HIGH),
    (Literal["a", "b"], '"b"', "b"),
    (Literal[1, None], "null", None),
    (int, "7", 7),
    (float, "7", 7.0),
    (str, '"x"', "x"),
    (bool, "true", True),
    (decimal.Decimal, "1.5", decimal.Decimal("1.5")),
    (uuid.UUID, json.dumps(str(uuid.UUID(int=1))), uuid.UUID(int=1)),
    (list[Person], '[{"name": "Tom", "years": 5}]', [TOM]),
    (list[OldPerson], '[{"name": "Tom"}]', [OldPerson(name="Tom")]),
    (list[Movie], '[{"title": "Heat"}]', [{"title": "Heat"}]),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (set[int], "[1, 1]", {1}),
    (Person | None, "null", None),
    (Person | Colour, '"blue"', Colour.BLUE),
    (OldPerson | None, "null", None),
    (Annotated[int, Field(ge=3)], "3", 3),
    (int | Callable[[int], int], "3", 3),
    (LISTED, "[1, 2]", [1, 2]),
    (NESTED, "[1, [2, [3]]]", [1, [2, [3]]]),
    ({"enum": ["a", 1, None]}, "null", None),
    ({"not": {"required": ["a"]}}, '{"b": 1}', {"b": 1}),
    ({"required": ["a"]}, '{"a": 1}', {"a": 1}),
    ({"minimum": 3}, '"x"', "x"),
    ({"$schema": DRAFT_4, "dependencies": {"a": ["b"]}}, "{}", {}),
]


@pytest.mark.parametrize(("output_type", "name", "text", "expected"), OBJECTS, ids=label)
def test_objects_are_asked_for_as_they_are(
    output_type: Any, name: str, text: str, expected: Any
) -> None:
    schema = to_schema(output_type)

    assert name == schema.name
    assert not schema.wrapped
    assert_sent(schema, text)
    assert expected == schema.validate(text)


@pytest.mark.parametrize(("output_type", "text", "expected"), OTHERS, ids=label)
def test_what_is_no_object_is_wrapped_unseen(output_type: Any, text: str, expected: Any) -> None:
    schema = to_schema(output_type)
    answer = f'{{"value": {text}}}'

    assert schema.wrapped
    assert "object" == schema.json_schema["type"]
    assert_sent(schema, answer)
    assert expected == schema.validate(answer)
    assert type(expected) is type(schema.validate(answer))


@pytest.mark.parametrize("output_type", [OldPerson | None, Person | None, list[OldTeam]], ids=str)
def test_a_type_means_the_same_when_it_was_forgotten(output_type: Any) -> None:
    first = to_schema(output_type)
    for number in range(CACHED):
        to_schema(Literal[number])

    again = to_schema(output_type)

    assert first is not again
    assert first.json_schema == again.json_schema


@pytest.mark.parametrize("output_type", [OldPerson | None, Person | None], ids=str)
def test_the_server_is_told_that_it_may_be_null(output_type: Any) -> None:
    validator = Draft202012Validator(to_schema(output_type).json_schema)

    valid = [validator.is_valid({"value": value}) for value in ({"name": "Ada"}, None, 5, {})]

    assert [True, True, False, False] == valid


def assert_sent(schema: Schema[Any], answer: str) -> None:
    """The server is sent a schema that is one, and that the answer fits."""
    Draft202012Validator.check_schema(schema.json_schema)
    Draft202012Validator(schema.json_schema).validate(json.loads(answer))
    inner = {"name": schema.name, "schema": schema.json_schema, "strict": True}
    assert {"type": "json_schema", "json_schema": inner} == schema.response_format


def test_the_description_of_a_function_is_kept() -> None:
    given = {"name": "f", "description": "Says hello.", "parameters": {"type": "object"}}

    assert "Says hello." == to_schema(given).json_schema["description"]


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    empty = {"type": "object", "properties": {}, "additionalProperties": False}

    assert empty == to_schema({"name": "f"}).json_schema
    assert empty == to_schema({"name": "f", "description": None, "parameters": {}}).json_schema


@pytest.mark.parametrize(
    ("output_type", "title"), [(OldPerson, "OldPerson"), (list[OldPerson], "answer")]
)
def test_the_model_reads_the_name_of_an_old_class(output_type: Any, title: str) -> None:
    schema = to_schema(output_type).json_schema

    assert title == schema.get("properties", {}).get("value", schema)["title"]


class Screen(TypedDict):
    movie: Movie
    seats: Annotated[NotRequired[int], Field(le=300)]


@pytest.mark.parametrize(
    ("output_type", "required"), [(Movie, ["title"]), (Cinema, ["shows"]), (Screen, ["movie"])]
)
def test_dictionaries_require_what_their_class_says(output_type: Any, required: list[str]) -> None:
    assert required == to_schema(output_type).json_schema["required"]


def test_dictionaries_keep_what_their_class_tells_of_itself() -> None:
    schema = to_schema(Movie).json_schema

    assert ("A film.", 1900) == (schema["description"], schema["properties"]["year"]["minimum"])
    with pytest.raises(StructuredOutputError, match="at /more: Extra inputs are not permitted"):
        to_schema(Ticket).validate('{"seat": 7, "more": 1}')


class Folder(TypedDict):
    files: list[str]
    folders: list[Folder]


class Shelf(TypedDict):
    top: Folder | None


@pytest.mark.parametrize("output_type", [Folder, Shelf, list[Folder]])
def test_dictionaries_that_contain_themselves_have_a_schema(output_type: Any) -> None:
    """Before Python 3.12, Pydantic takes only those of ``typing_extensions``, and says so."""
    if sys.version_info >= (3, 12):
        assert "Folder" in str(to_schema(output_type).json_schema)
        return
    with pytest.raises(MlxcelError, match=r"use `typing_extensions.TypedDict`"):
        to_schema(output_type)


def test_decimals_are_numbers() -> None:
    """A text of digits would be one, too, which a model would have to choose."""
    schema = to_schema(decimal.Decimal).json_schema["properties"]["value"]

    assert "number" == schema["type"]


def test_a_schema_is_made_once() -> None:
    """Whoever asks in a loop pays once; a changed dictionary is another schema."""
    given = json.loads(json.dumps(PERSON))
    first = to_schema(given)
    given["required"] = []

    assert to_schema(Person) is to_schema(Person)
    assert to_schema(first) is first is to_schema(PERSON)
    assert [] == to_schema(given).json_schema["required"]
    assert ["name"] == first.json_schema["required"]


class Rich(BaseModel):
    price: decimal.Decimal
    unique: set[int]
    secret: pydantic.SecretStr
    raw: bytes
    by_letter: dict[Literal["a", "b"], int]
    animal: Cat | Dog = Field(discriminator="kind")
    day: datetime.date
    name: str = Field(json_schema_extra={"pattern": "^(?!x)"})
    anything: Any = dataclasses.MISSING


def test_what_no_engine_constrains_is_not_sent() -> None:
    """mlxcel refuses schemas with keywords, formats and patterns that it does not know."""
    sent = json.dumps(to_schema(Rich).json_schema)
    foreign = ("uniqueItems", "writeOnly", "binary", "password", "propertyNames", "(?!", "oneOf")

    assert [] == [word for word in (*foreign, "discriminator") if word in sent]
    assert '"format": "date"' in sent


def test_objects_are_closed_unless_they_take_anything() -> None:
    closed, opened = to_schema(Person).json_schema, to_schema(Open).json_schema

    assert (False, True) == (closed["additionalProperties"], opened["additionalProperties"])
    assert "additionalProperties" not in to_schema(PERSON).json_schema


def test_dictionaries_are_sent_as_they_are() -> None:
    given = {**PERSON, "x-mine": 1, "oneOf": [{}], "not": {"required": ["b"]}}

    assert given == to_schema(given).json_schema


def chain(length: int) -> dict[str, Any]:
    """Return a schema of lists within lists."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(length):
        schema = {"type": "array", "items": schema}
    return {"type": "object", "properties": {"a": schema}}


def of_size(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"enum": ["x" * count]}, "b": {"type": "null"}}}


def referring(count: int) -> dict[str, Any]:
    fields = {f"f{index}": {"$ref": "#/$defs/A"} for index in range(count)}
    return {"type": "object", "properties": fields, "$defs": {"A": {"type": "string"}}}


OVERHEAD = len(json.dumps(of_size(0), separators=(",", ":")))


@pytest.mark.parametrize(
    "schema", [chain(61), of_size(256 * 1024 - OVERHEAD), of_size(0), referring(300)]
)
def test_what_is_within_the_limits_is_taken(schema: dict[str, Any]) -> None:
    assert schema == to_schema(schema).json_schema


class Endless(BaseModel):
    next: Endless


class Ping(BaseModel):
    pongs: Annotated[list[Pong], Field(min_length=1)]


class Pong(BaseModel):
    ping: Ping


@pytest.mark.parametrize(
    ("output_type", "message"),
    [
        (chain(62), "deeper than 64 levels, at /properties/a(/items){62}:"),
        (chain(300), "deeper than 64 levels"),
        (chain(20_000), "deeper than 64 levels"),
        (of_size(256 * 1024), r"has \d+ bytes, .* 262144 .*. The largest part is /properties/a:"),
        (of_size(256 * 1024 - OVERHEAD + 1), "has 262145 bytes"),
        ({"type": "string", "enum": ["é" * 150_000]}, "has 30.* bytes"),
        (Endless, r"recursive without end at #/\$defs/Endless"),
        (Ping, r"recursive without end at #/\$defs/Ping"),
        ({"$ref": "#"}, "recursive without end"),
        ({"type": "object", "properties": {"a/b": {"$ref": "http://x/y"}}}, "at /properties/a~1b/"),
        ({"type": "array", "items": {"$ref": "other.json"}}, "outside of itself"),
        ({"type": "array", "items": {"$ref": "#/$defs/a"}}, "but there is no such part"),
        ({"type": "array", "items": {"$ref": "#name"}}, "but there is no such part"),
        ({"type": "object", "required": 3, "anyOf": 5}, "The schema is invalid at /"),
        ({"type": "objekt", "properties": {}}, "The schema is invalid at /type: 'objekt' is not"),
        ({"type": "object", "properties": {"a": {"minimum": "x"}}}, "at /properties/a/minimum"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "at /properties/a/pattern"),
        ({}, "{} is not a JSON schema: it has no keyword such as"),
        ({"colour": "red"}, "is not a JSON schema: it has no keyword such as"),
        ({"title": "A", "$defs": {"A": {"type": "string"}}}, "it has no keyword such as"),
        ({"dependencies": {"a": ["b"]}}, "it has no keyword such as"),  # not of the newest dialect
        ({"type": "json_object"}, "is not a JSON schema"),
        ({"type": "json_schema"}, "The schema is invalid at /type"),
        ({"type": "json_schema", "json_schema": []}, "is not a JSON schema"),
        ({"type": "function", "function": {"name": "f", "parameters": 3}}, "is not a JSON schema"),
        ({"type": {"string"}}, "cannot be written as JSON: .* set"),
        ({"type": "number", "minimum": float("nan")}, "cannot be written as JSON"),
        (3, "No schema can be made from 3: it is a value"),
        ("Person", "'Person': it is a value"),
        (Colour.RED, "No schema can be made from <Colour.RED"),
        (["a", "b"], "it is a value"),
        (TOM, "No schema can be made from Person"),
        (object(), "No schema can be made from <object"),
        (lambda: 1, "it is a function"),
        (Callable[[], int], "No schema can be made from"),
        (Annotated[str, Field(pattern="(?=a)")], "made from .*: look-around.* is not supported. P"),
        (list["Nowhere"], "No schema can be made from list"),  # type: ignore[name-defined] # noqa: F821
    ],
)
def test_what_no_server_takes_is_refused(output_type: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        to_schema(output_type)


KEYWORDS = "$ref, allOf, anyOf, const, enum, items, oneOf, prefixItems, properties, type"
EXAMPLE = '{"type": "object", "properties": {"name": {"type": "string"}}}'
NO_DICTIONARY = (
    f"is not a JSON schema: it has no keyword such as {KEYWORDS}. Pass one such as {EXAMPLE}."
)
NO_TYPE = "Pass a Pydantic model, a dataclass, a TypedDict, another type of data, or a JSON schema."


@pytest.mark.parametrize(
    ("output_type", "message"),
    [
        ({"colour": "red"}, f"{{'colour': 'red'}} {NO_DICTIONARY}"),
        ({"type": "json_object"}, f"{{'type': 'json_object'}} {NO_DICTIONARY}"),
        (3, f"No schema can be made from 3: it is a value, not a type. {NO_TYPE}"),
    ],
    ids=label,
)
def test_what_to_pass_instead_is_told(output_type: Any, message: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        to_schema(output_type)

    assert message == str(caught.value)


def test_the_reason_of_pydantic_is_told_in_one_sentence() -> None:
    """Pydantic adds lines with advice and addresses for developers of Pydantic classes."""

    class Odd: ...

    with pytest.raises(MlxcelError) as caught:
        to_schema(Odd)

    message = str(caught.value)
    assert message.startswith("No schema can be made from <class '")
    assert "Unable to generate" in message
    assert message.endswith(f". {NO_TYPE}")
    assert [] == [part for part in ("\n", "..", "arbitrary_types") if part in message]


MISFITS: list[tuple[Any, str, str]] = [
    (Person, '{"years": 5}', "at /name: Field required"),
    (Person, '{"name": 5}', "at /name: Input should be a valid string"),
    (list[Person], '{"value": [{"name": "Tom"}, {}]}', "at /1/name: "),
    (OldTeam, '{"members": [{"name": "Tom"}, {}]}', "at /members/1/name: field required"),
    (Colour, '{"value": "green"}', "at /: Input should be 'red' or 'blue'"),
    (PERSON, '{"name": 5}', "at /name: 5 is not of type 'string'"),
    (PERSON, "[]", r"at /: \[\] is not of type 'object'"),
    (LISTED, '{"value": [1, "a"]}', "at /1: 'a' is not of type 'integer'"),
    (LISTED, '{"values": []}', "at /: it is not an object with the property 'value'"),
    (LISTED, "[1]", "at /: it is not an object with the property 'value'"),
]


@pytest.mark.parametrize(("output_type", "text", "message"), MISFITS, ids=label)
def test_an_answer_that_does_not_fit_is_an_error(output_type: Any, text: str, message: str) -> None:
    with pytest.raises(StructuredOutputError, match=message) as caught:
        to_schema(output_type).validate(text, "stop")

    assert StructuredOutputError is caught.type
    assert (text, "stop") == (caught.value.raw, caught.value.finish_reason)


def within(*properties: Any) -> dict[str, Any]:
    fields = {f"f{index}": schema for index, schema in enumerate(properties)}
    return {"type": "object", "properties": fields, "required": list(fields)}


LEAF = {"type": "null"}


@pytest.mark.parametrize(
    ("node", "ends"),
    [
        (within(LEAF), True),
        (within({"$ref": "#/$defs/N"}), False),
        (within({"anyOf": [{"$ref": "#/$defs/N"}, LEAF]}), True),
        (within({"anyOf": [{"$ref": "#/$defs/N"}, {"$ref": "#/$defs/N"}]}), False),
        (within({"oneOf": [{"$ref": "#/$defs/N"}]}), False),
        (within(True), True),
        ({"type": "object", "properties": {}, "required": ["f0"]}, True),
        ({"allOf": [{"$ref": "#/$defs/N"}]}, False),
        (within({"type": "array", "items": {"$ref": "#/$defs/N"}}), True),
        (within({"type": "array", "items": {"$ref": "#/$defs/N"}, "minItems": 1}), False),
        (within({"prefixItems": [{"$ref": "#/$defs/N"}], "minItems": 1}), False),
        (within({"prefixItems": [{"$ref": "#/$defs/N"}]}), True),
    ],
    ids=label,
)
def test_a_recursion_must_have_an_end(node: dict[str, Any], ends: bool) -> None:
    schema = {**within({"$ref": "#/$defs/N"}), "$defs": {"N": node}}
    if ends:
        assert schema == to_schema(schema).json_schema
        return
    with pytest.raises(MlxcelError) as caught:
        to_schema(schema)

    assert (
        "The schema is recursive without end at #/$defs/N: an object of it requires another one of "
        "the same kind. Make that property optional, or allow null for it."
    ) == str(caught.value)


def test_dictionaries_with_remarks_are_read_as_those_without() -> None:
    schema = to_schema(list[Annotated[Movie, "a remark"]])

    assert [{"title": "Heat"}] == schema.validate('{"value": [{"title": "Heat"}]}')


def test_threads_that_need_the_same_schema_make_it_once() -> None:
    made: list[str] = []

    class Slow(BaseModel):
        name: str

        @classmethod
        def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> Any:
            made.append(threading.current_thread().name)
            waiting.wait(0.2)  # the others arrive meanwhile
            return handler(core)

    waiting = threading.Event()
    with ThreadPoolExecutor(8) as threads:
        schemas = list(threads.map(to_schema, [Slow] * 8))

    assert 1 == len(made)
    assert all(schema is schemas[0] for schema in schemas)


HOSTILE: dict[str, tuple[Any, Any]] = {
    "10,000 properties": (
        {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(10_000)}},
        {},
    ),
    "deep recursion": (
        {
            "$ref": "#/$defs/A",
            "$defs": {
                "A": {
                    "type": "object",
                    "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
                }
            },
        },
        functools.reduce(lambda inner, _: {"a": inner}, range(90), {}),
    ),
    "a pattern that backtracks": (
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
        {"a": "a" * 50_000 + "!"},
    ),
    "a pattern that backtracks around": (
        {"type": "object", "properties": {"a": {"pattern": "^(?=(a+)+$)(.*a){20}"}}},
        {"a": "a" * 50_000 + "!"},
    ),
    "alternatives within alternatives": (
        functools.reduce(
            lambda inner, _: {
                "type": "object",
                "anyOf": [
                    {"properties": {"a": inner}, "required": ["a"]},
                    {"properties": {"a": inner}, "required": ["a", "b"]},
                ],
            },
            range(8),
            {"type": "object", "required": ["z"]},
        ),
        functools.reduce(lambda inner, _: {"a": inner}, range(12), {}),
    ),
    "many unequal items": (
        {"type": "object", "properties": {"a": {"uniqueItems": True, "items": {}}}},
        {"a": [[at, {"x": at}] for at in range(20_000)]},
    ),
}


@pytest.mark.parametrize(("given", "answer"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_schema_or_answer_ends_within_a_second(given: Any, answer: Any) -> None:
    """In processor time, since the machine may be busy."""
    began = time.process_time()

    with contextlib.suppress(MlxcelError):
        to_schema(given).validate(json.dumps(answer))

    assert time.process_time() - began < 1
