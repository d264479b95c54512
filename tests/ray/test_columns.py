"""Answers become columns: which types a schema asks for, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from mlxcel_integrations.structured.type_schema import to_schema

pa = pytest.importorskip("pyarrow", reason="the extra [ray] is not installed")

from mlxcel_integrations.ray.columns import column_types, column_values  # noqa: E402

TEXT = pa.string()


class Level(Enum):
    LOW = 1
    HIGH = 2


class Person(BaseModel):
    name: str
    parents: list[Person] = []


@dataclass
class Place:
    town: str
    height: float | None


class Report(BaseModel):
    title: str = Field(alias="heading")
    day: Literal["Monday", "Tuesday"]
    level: Level
    hurt: int
    cost: Decimal
    written: date | None
    sure: bool
    place: Place
    places: list[Place]
    words: dict[str, int]
    either: int | str
    size: int | float


JSON_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": ["integer", "null"]}, "b": {"enum": ["x", None]}, "c": True},
}
PLACE = pa.struct([("town", TEXT), ("height", pa.float64())])
PERSON = pa.struct([("name", TEXT), ("parents", pa.list_(TEXT))])

KINDS: dict[str, tuple[Any, dict[str, Any], Any, dict[str, Any]]] = {
    "fields of a model": (
        Report,
        {
            "heading": TEXT,
            "day": TEXT,
            "level": pa.int64(),
            "hurt": pa.int64(),
            "cost": pa.float64(),
            "written": TEXT,
            "sure": pa.bool_(),
            "place": PLACE,
            "places": pa.list_(PLACE),
            "words": TEXT,
            "either": TEXT,
            "size": pa.float64(),
        },
        Report(
            heading="Storm",
            day="Monday",
            level=Level.HIGH,
            hurt=2,
            cost=Decimal("1.50"),
            written=date(2026, 1, 31),
            sure=True,
            place=Place("Aberdeen", None),
            places=[Place("Bath", 1.5)],
            words={"a": 1},
            either=3,
            size=4,
        ),
        {
            "heading": "Storm",
            "day": "Monday",
            "level": 2,
            "hurt": 2,
            "cost": 1.5,
            "written": "2026-01-31",
            "sure": True,
            "place": {"town": "Aberdeen", "height": None},
            "places": [{"town": "Bath", "height": 1.5}],
            "words": '{"a": 1}',
            "either": "3",
            "size": 4.0,
        },
    ),
    "an object within itself": (
        Person,
        {"name": TEXT, "parents": pa.list_(PERSON)},
        Person(name="A", parents=[Person(name="B", parents=[Person(name="C")])]),
        {"name": "A", "parents": [{"name": "B", "parents": ['{"name": "C", "parents": []}']}]},
    ),
    "a list": (list[int], {"value": pa.list_(pa.int64())}, [1, 2], {"value": [1, 2]}),
    "a choice": (Literal["a", "b"], {"value": TEXT}, "b", {"value": "b"}),
    "a pair": (tuple[int, str], {"value": TEXT}, (1, "a"), {"value": '[1, "a"]'}),
    "a JSON schema": (
        JSON_SCHEMA,
        {"a": pa.int64(), "b": TEXT, "c": TEXT},
        {"a": 1, "b": None, "c": [1]},
        {"a": 1, "b": None, "c": "[1]"},
    ),
}


@pytest.mark.parametrize(("kind", "types", "answer", "values"), KINDS.values(), ids=KINDS)
def test_a_schema_says_the_types_of_the_columns(
    kind: Any, types: dict[str, Any], answer: Any, values: dict[str, Any]
) -> None:
    schema = to_schema(kind)

    assert types == column_types(schema)
    assert values == dict(zip(types, column_values(answer, schema, types), strict=True))


def test_a_number_that_is_too_large_for_its_column_is_an_error_of_arrow() -> None:
    schema = to_schema(list[int])

    with pytest.raises((pa.ArrowException, OverflowError)):
        column_values([2**70], schema, column_types(schema))


def test_references_are_followed_as_they_were_checked() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer"}}}
    given = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a%20b"}}}

    schema = to_schema({**given, "$defs": {"a b": inner}})

    assert {"a": pa.struct([("n", pa.int64())])} == column_types(schema)
