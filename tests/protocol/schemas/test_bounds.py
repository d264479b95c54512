"""Bounds of answers: narrower than the user's schema, never narrower than a whole answer."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from mlxcel_integrations.protocol.schemas.bounds import MAX_INTEGER, bounded
from mlxcel_integrations.protocol.schemas.json_schema import compact
from mlxcel_integrations.protocol.schemas.sent_schema import format_to_send
from mlxcel_integrations.protocol.schemas.size_limits import MAX_BYTES

JsonSchema = dict[str, Any]

TEXT: JsonSchema = {"type": "string"}
WHOLE: JsonSchema = {"type": "integer"}
BOUNDED_WHOLE = {**WHOLE, "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER}


def of(**properties: Any) -> JsonSchema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def items(each: Any, **more: Any) -> JsonSchema:
    return {"type": "array", "items": each, **more}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (TEXT, {**TEXT, "maxLength": 1200}),
        ({**TEXT, "minLength": 700}, {**TEXT, "minLength": 700, "maxLength": 1400}),
        (items(TEXT), items({**TEXT, "maxLength": 300}, maxItems=48)),
        (items(TEXT, minItems=90), items({**TEXT, "maxLength": 300}, minItems=90, maxItems=180)),
        (items({"type": "null"}), items({"type": "null"}, maxItems=200)),
        (items({"enum": ["a", "bcd"]}), items({"enum": ["a", "bcd"]}, maxItems=171)),
        (items(True), items(True, maxItems=48)),
        (items({"type": "array"}), items({"type": "array", "maxItems": 54}, maxItems=46)),
        # A tuple of older dialects.
        (items([TEXT, WHOLE]), items([{**TEXT, "maxLength": 300}, BOUNDED_WHOLE], maxItems=56)),
        (of(a=TEXT), of(a={**TEXT, "maxLength": 1179})),
        (of(a=True, b=TEXT), of(a=True, b={**TEXT, "maxLength": 864})),
        (of(a=TEXT, b=TEXT), of(a={**TEXT, "maxLength": 870}, b={**TEXT, "maxLength": 870})),
        (of(a=WHOLE, b=TEXT), of(a=BOUNDED_WHOLE, b={**TEXT, "maxLength": 1168})),
        (
            {"type": "object", "additionalProperties": WHOLE},
            {"type": "object", "additionalProperties": BOUNDED_WHOLE, "maxProperties": 66},
        ),
        ({"type": ["string", "null"]}, {"type": ["string", "null"], "maxLength": 1200}),
        ({"anyOf": [TEXT, WHOLE]}, {"anyOf": [{**TEXT, "maxLength": 1200}, BOUNDED_WHOLE]}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": TEXT}},
            {"$ref": "#/$defs/A", "$defs": {"A": {**TEXT, "maxLength": 1200}}},
        ),
        ({**WHOLE, "minimum": 0}, {**WHOLE, "minimum": 0, "maximum": MAX_INTEGER}),
        ({**WHOLE, "exclusiveMaximum": 9}, {**BOUNDED_WHOLE, "exclusiveMaximum": 9} | {}),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_what_is_open_gets_a_bound(schema: JsonSchema, expected: JsonSchema) -> None:
    before = json.dumps(schema)
    if "exclusiveMaximum" in schema:
        expected = {name: value for name, value in expected.items() if name != "maximum"}

    assert expected == bounded(schema, 240)
    assert before == json.dumps(schema)


HUGE = 10**30


@pytest.mark.parametrize(
    "schema",
    [
        {**TEXT, "maxLength": 5},
        {**TEXT, "pattern": "^a*$"},
        {**TEXT, "format": "date"},
        {**TEXT, "minLength": 5000},
        {"enum": ["a"]},
        {"const": "a"},
        {"type": "number"},
        {"type": ["integer", "number"]},
        {"type": "boolean"},
        {**WHOLE, "minimum": 0, "maximum": 5},
        {**WHOLE, "minimum": HUGE, "exclusiveMaximum": 2 * HUGE},
        {**WHOLE, "multipleOf": 7},
        {},
        of(),
        items({"type": "null"}, maxItems=5),
        # Each of these would contradict a bound.
        {"allOf": [TEXT, {"minLength": 1500}]},
        {**TEXT, "anyOf": [{"minLength": 1500}, {"type": "null"}]},
        {"oneOf": [TEXT, {"type": "string", "minLength": 1500}]},
        {"not": TEXT},
        {"if": of(a={"const": 1}), "then": of(b={**TEXT, "minLength": 1500})},
        {**of(a=TEXT), "patternProperties": {"^a": {"minLength": 1500}}},
        items(TEXT, contains={"minLength": 1500}),
        {
            "$ref": "#/$defs/A",
            "minLength": 1500,
            "$defs": {"A": TEXT},
        },
        {
            "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"a": {"minLength": 1500}}}],
            "$defs": {"A": of(a={"$ref": "#/$defs/B"}), "B": TEXT},
        },
        # Forms that no server takes.
        {"type": "string", "minLength": "many"},
        {"type": 3},
        {"anyOf": 3},
        {"properties": 3},
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_what_ends_anyway_or_may_contradict_a_bound_stays_as_it_is(schema: JsonSchema) -> None:
    given = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    assert given == format_to_send(given, 400, bounded, limited=False)


def test_a_definition_that_also_stands_beside_others_has_no_bound() -> None:
    both = {"allOf": [{"$ref": "#/$defs/A"}, {"minLength": 1500}]}
    schema = {**of(free={"$ref": "#/$defs/A"}, long=both, text=TEXT), "$defs": {"A": TEXT}}

    changed = bounded(schema, 400)

    assert schema["$defs"] == changed["$defs"]
    assert "maxLength" in changed["properties"]["text"]


def test_a_schema_within_itself_gets_bounds_once() -> None:
    node = of(name=TEXT, next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})

    changed = bounded({"$ref": "#/$defs/Node", "$defs": {"Node": node}}, 400)

    assert changed["$defs"]["Node"]["properties"]["name"]["maxLength"] > 500


def test_without_max_tokens_only_numbers_have_bounds() -> None:
    schema = of(a=TEXT, b=items(TEXT), c=WHOLE)

    assert of(a=TEXT, b=items(TEXT), c=BOUNDED_WHOLE) == bounded(schema, None)


def test_a_large_room_needs_no_bounds() -> None:
    """llama.cpp could not compile them, and no answer gets there."""
    schema = of(a=TEXT, b=items(of(x=TEXT)))

    assert schema == bounded(schema, 100_000)


def test_bounds_do_not_bring_a_schema_above_the_limit_of_servers() -> None:
    schema = of(**{f"f{at}": TEXT for at in range(100)})
    schema["description"] = "x" * (MAX_BYTES - len(compact(schema)) - 50)

    assert schema is bounded(schema, 400)


ORDER = of(
    customer=TEXT,
    note={"anyOf": [TEXT, {"type": "null"}]},
    lines=items(of(article=TEXT, count=WHOLE, price={"type": "number"})),
    tags=items(TEXT),
    extra={"type": "object", "additionalProperties": TEXT},
)
LONG = " ".join(["An answer of many words."] * 40)
LINE = {"article": "Tyres for bicycles", "count": 4, "price": 39.5}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (of(text=TEXT), {"text": LONG}),
        (of(title=TEXT, text=TEXT), {"title": "A title", "text": LONG[:860]}),
        (items(TEXT), ["red", "green", "dark blue"] * 16),
        (items(WHOLE), list(range(199))),
        (items(of(name=TEXT, about=TEXT)), [{"name": "Oslo", "about": LONG[:180]}] * 5),
        (
            ORDER,
            {"customer": "A", "note": None, "lines": [LINE] * 14, "tags": ["x"] * 9, "extra": {}},
        ),
        (
            ORDER,
            {"customer": "A", "note": LONG[:280], "lines": [LINE], "tags": [], "extra": {"a": "b"}},
        ),
        (WHOLE, 1_234_567_890_123_456_789),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_an_answer_that_fits_into_400_tokens_keeps_within_the_bounds(
    schema: JsonSchema, answer: Any
) -> None:
    assert len(compact(answer)) < 1300

    jsonschema.validate(answer, schema)
    jsonschema.validate(answer, bounded(schema, 400))
