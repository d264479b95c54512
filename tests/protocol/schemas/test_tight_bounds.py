"""Tight bounds: whatever they allow has room, and something of the user's schema is left."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from mlxcel_integrations.protocol.schemas.tight_bounds import tightly_bounded

JsonSchema = dict[str, Any]

TEXT: JsonSchema = {"type": "string"}
WHOLE: JsonSchema = {"type": "integer"}
ANY: JsonSchema = {"type": ["string", "number", "boolean", "null"]}


def of(**properties: Any) -> JsonSchema:
    return {"type": "object", "properties": properties}


def closed(**properties: Any) -> JsonSchema:
    return {**of(**properties), "additionalProperties": False}


def whole(digits: int) -> JsonSchema:
    return {**WHOLE, "minimum": 1 - 10**digits, "maximum": 10**digits - 1}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (TEXT, {**TEXT, "maxLength": 80}),
        ({**TEXT, "maxLength": 7}, {**TEXT, "maxLength": 7}),
        ({**TEXT, "maxLength": 7000}, {**TEXT, "maxLength": 80}),
        ({**TEXT, "minLength": 90}, {**TEXT, "minLength": 90, "maxLength": 90}),
        (WHOLE, whole(18)),
        ({**WHOLE, "minimum": 1}, {**WHOLE, "minimum": 1, "maximum": 10**18 - 1}),
        ({**WHOLE, "minimum": 10**18}, {**WHOLE, "minimum": 10**18}),
        ({**WHOLE, "maximum": -(10**18)}, {**WHOLE, "maximum": -(10**18)}),
        (
            {"type": "array", "items": TEXT},
            {"type": "array", "items": {**TEXT, "maxLength": 30}, "maxItems": 2},
        ),
        ({"type": ["string", "null"]}, {"type": ["string", "null"], "maxLength": 80}),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 30},
            {"type": "array", "items": {"type": "null"}, "minItems": 30, "maxItems": 30},
        ),
        (of(a=TEXT), closed(a={**TEXT, "maxLength": 80})),
        (of(a={}), closed(a={**ANY, "maxLength": 80})),
        (of(a=True), closed(a=True)),
        (
            {"type": "object", "additionalProperties": {"type": "null"}},
            {"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 3},
        ),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": TEXT}},
            {"$ref": "#/$defs/A", "$defs": {"A": {**TEXT, "maxLength": 80}}},
        ),
        (
            {"anyOf": [TEXT, {"type": "null"}]},
            {"anyOf": [{**TEXT, "maxLength": 80}, {"type": "null"}]},
        ),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_the_loosest_bounds_are_set_under_which_the_longest_answer_has_room(
    schema: JsonSchema, expected: JsonSchema
) -> None:
    before = json.dumps(schema)

    assert expected == tightly_bounded(schema, 100)
    assert before == json.dumps(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {**TEXT, "format": "date"},
        {**TEXT, "pattern": "^a+$"},
        {"enum": ["a" * 500]},
        {"const": 7},
        {"type": "number"},
        {**WHOLE, "multipleOf": 7},
        {"allOf": [TEXT, {"minLength": 300}]},
        {"type": "array", "prefixItems": [{"const": 1}]},
    ],
    ids=json.dumps,
)
def test_what_ends_anyway_or_may_contradict_a_bound_stays_as_it_is(schema: JsonSchema) -> None:
    assert schema == tightly_bounded(schema, 100)


ORDER = {**of(a=TEXT, b=TEXT, c=TEXT), "required": ["b"]}


def test_with_too_little_room_only_what_is_required_is_left() -> None:
    assert closed(b={**TEXT, "maxLength": 20}) == {
        name: part for name, part in tightly_bounded(ORDER, 40).items() if name != "required"
    }
    assert {"a", "b", "c"} == tightly_bounded(ORDER, 400)["properties"].keys()


@pytest.mark.parametrize(
    "more",
    [
        {"required": ["a", "other"]},
        {"minProperties": 2},
        {"patternProperties": {"^x": TEXT}},
    ],
    ids=json.dumps,
)
def test_an_object_that_needs_other_properties_stays_open(more: JsonSchema) -> None:
    assert "additionalProperties" not in tightly_bounded({**of(a=TEXT), **more}, 1000)


def test_without_max_tokens_there_is_a_room_all_the_same() -> None:
    assert 400 == tightly_bounded(TEXT, None)["maxLength"]


def test_a_schema_within_itself_is_bounded() -> None:
    node = {"type": "object", "properties": {"in": {"$ref": "#"}, "name": TEXT}}

    assert tightly_bounded(node, 300)["properties"]["name"]["maxLength"] >= 80


@pytest.mark.parametrize("tokens", [20, 100, 400, 4000])
def test_what_tight_bounds_allow_the_schema_allows(tokens: int) -> None:
    schema = {
        **of(a=TEXT, b={"type": "array", "items": of(c=WHOLE, d={"enum": ["x", "y"]})}, e={}),
        "required": ["a", "b"],
    }
    value = {"a": "x", "b": [{"c": 5, "d": "x"}]}

    bounded = tightly_bounded(schema, tokens)

    jsonschema.validate(value, bounded)
    jsonschema.validate(value, schema)
    jsonschema.Draft202012Validator.check_schema(bounded)
