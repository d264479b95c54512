"""The smallest answer to a schema: whether it has room, and whether there is any."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.schemas.smallest_answer import check_room, check_satisfiable

JsonSchema = dict[str, Any]

TEXT: JsonSchema = {"type": "string"}


def of(*required: str, **properties: Any) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(required)}


def items(each: Any, least: int) -> JsonSchema:
    return {"type": "array", "items": each, "minItems": least}


def as_format(schema: JsonSchema) -> JsonSchema:
    return {"type": "json_schema", "json_schema": {"name": "City", "schema": schema}}


@pytest.mark.parametrize(
    ("schema", "least"),
    [
        (of(), 1),
        (of(a=TEXT), 1),
        (of("a", a=TEXT), 3),
        (of("a", "b", a=TEXT, b={"type": "integer"}), 5),
        (of("a", a=of("b", "c", b=TEXT, c=TEXT)), 7),
        (of("a", a={"anyOf": [of("b", "c", b=TEXT, c=TEXT), TEXT]}), 3),
        (of("a", a={"allOf": [of("b", "c", b=TEXT, c=TEXT), of("b", b=TEXT)]}), 7),
        (of("a", a=items(TEXT, 20)), 13),
        (of("a", a=items(of("b", b=TEXT), 20)), 63),
        ({"$ref": "#/$defs/A", "$defs": {"A": of("b", b={"$ref": "#/$defs/B"}), "B": TEXT}}, 3),
        (of("a", a={"anyOf": [{"$ref": "#"}, {"type": "null"}]}), 3),
        (of("a", a={}), 3),
        (of("a", a=TEXT, b={"$ref": "#/properties/a"}, c={"$ref": "#"}), 3),
        ({"enum": ["x" * 500]}, 0),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_room_that_is_too_small_is_told_with_both_numbers(schema: JsonSchema, least: int) -> None:
    for room in (least, least + 1, None, 10_000):
        check_room(as_format(schema), room)
    if least:
        with pytest.raises(MlxcelError) as caught:
            check_room(as_format(schema), least - 1)
        assert (
            f"max_tokens={least - 1} is too small: the smallest answer to the schema 'City' has at "
            f"least {least} tokens, and most need several times as many. Raise max_tokens, or ask "
            "for less."
        ) == str(caught.value)


NOTHING_FITS = {
    "numbers": (
        of("a", a={"type": "integer", "minimum": 5, "maximum": 3}),
        "at /properties/a, no value is between minimum 5 and maximum 3",
    ),
    "exclusive": (
        {"type": "number", "exclusiveMinimum": 3, "maximum": 3},
        "at /, no value is between exclusiveMinimum 3 and maximum 3",
    ),
    "no whole number": (
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4},
        "no value is between exclusiveMinimum 3 and exclusiveMaximum 4",
    ),
    "no multiple": (
        of("a", a={"type": "integer", "multipleOf": 10, "minimum": 1, "exclusiveMaximum": 10}),
        "at /properties/a, no multiple of 10 is between minimum 1 and exclusiveMaximum 10",
    ),
    "another constant": (
        of("a", a={"const": 1, "enum": [2, 3]}),
        "at /properties/a, none of the choices is possible",
    ),
    "lengths": ({**TEXT, "minLength": 9, "maxLength": 2}, "minLength 9 is above maxLength 2"),
    "items": ({**items(TEXT, 9), "maxItems": 2}, "minItems 9 is above maxItems 2"),
    "properties": (
        {**of("a", "b"), "maxProperties": 1},
        "more properties are required than maxProperties 1 allows",
    ),
    "a closed object": (
        {**of("a", "b", a=TEXT), "additionalProperties": False},
        "the required property 'b' is not allowed",
    ),
    "a false schema": (of("a", a=False), "the required property 'a' is not allowed"),
    "no choice": (of("a", a={"enum": []}), "at /properties/a, none of the choices is possible"),
    "choices of another type": (
        {"type": "integer", "enum": ["a", True]},
        "none of the choices is possible",
    ),
    "a definition": (
        {"$ref": "#/$defs/A", "$defs": {"A": {**TEXT, "minLength": 9, "maxLength": 2}}},
        "at /$defs/A, minLength 9 is above maxLength 2",
    ),
    "every alternative": (
        {"anyOf": [{"enum": []}, {"type": "integer", "minimum": 5, "maximum": 3}]},
        "at /anyOf/0, none of the choices",
    ),
    "types together": (
        of("a", a={"allOf": [TEXT, {"type": ["integer", "null"]}]}),
        "at /properties/a, its parts have no type in common",
    ),
    "bounds together": (
        of("a", a={"type": "number", "allOf": [{"minimum": 5}, {"maximum": 2}]}),
        "at /properties/a, no value is between minimum 5 and maximum 2",
    ),
    "lengths together": (
        {
            "allOf": [{"$ref": "#/$defs/A"}, {"maxLength": 2}],
            "$defs": {"A": {**TEXT, "minLength": 9}},
        },
        "at /, minLength 9 is above maxLength 2",
    ),
    "choices together": (
        {"allOf": [{"enum": ["a", "b"]}, {"allOf": [{"const": "c"}]}]},
        "at /, none of the choices is possible",
    ),
    "bounds of several types together": (
        {
            "type": ["string", "array"],
            "allOf": [{"minLength": 9, "minItems": 9}, {"maxLength": 2, "maxItems": 2}],
        },
        "at /, its parts contradict each other",
    ),
    "parts together": ({"allOf": [{"not": {}}, {"anyOf": [False]}]}, "contradict each other"),
}


@pytest.mark.parametrize(("schema", "reason"), NOTHING_FITS.values(), ids=list(NOTHING_FITS))
def test_a_schema_that_nothing_fits_is_told_with_the_place(schema: JsonSchema, reason: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        check_satisfiable(schema, "City")

    assert str(caught.value).startswith("Nothing fits the schema 'City': at /")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        of(a={"enum": []}),
        {"anyOf": [{"enum": []}, TEXT]},
        {"type": ["integer", "string"], "minimum": 5, "maximum": 3},
        {"type": "integer", "minimum": 3, "maximum": 3},
        {"type": "integer", "minimum": 3, "exclusiveMaximum": True, "maximum": 4},
        {"type": ["boolean", "null"], "enum": [True]},
        {"type": "file", "enum": ["x"]},
        {**of("b", a=TEXT), "additionalProperties": False, "patternProperties": {"b": {}}},
        {"minimum": "x", "type": "integer", "maximum": 3},
        {"allOf": [{"type": "number"}, {"type": "integer"}]},
        {"allOf": [{"type": "number", "minimum": 3}, {"type": "integer", "maximum": 3}]},
        {"allOf": [{"type": ["string", "null"]}, {"type": ["null", "integer"]}]},
        {"allOf": [{"minimum": 5}, {"maximum": 2}]},
        {"type": "integer", "allOf": [{"minLength": 5}, {"maxLength": 2}]},
        {"allOf": [{"enum": [[1], 2]}, {"enum": [[1.0]]}]},
        {"allOf": [of(a=TEXT), of("a")]},
        {"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}, True], "$defs": {"A": TEXT}},
        items({"$ref": "#"}, 0),
    ],
    ids=json.dumps,
)
def test_other_schemas_pass(schema: JsonSchema) -> None:
    check_satisfiable(schema, "City")
    check_room(as_format(schema), 9)


def test_definitions_that_refer_to_each_other_for_long_pass() -> None:
    definitions = {f"d{at}": of("a", a={"$ref": f"#/$defs/d{at + 1}"}) for at in range(200)}

    check_satisfiable({"$ref": "#/$defs/d0", "$defs": {**definitions, "d200": TEXT}}, "City")
