"""What is changed in a schema so that every engine can constrain it, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.portable import is_object, portable, wrapped

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
LOOKS_AROUND = {**TEXT, "pattern": "(?=a).*"}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, True),
        (TEXT, TEXT),
        ({**TEXT, "x-order": 1, "discriminator": {}, "title": "T"}, {**TEXT, "title": "T"}),
        ({"oneOf": [TEXT, NUMBER]}, {"anyOf": [TEXT, NUMBER]}),
        ({"items": [TEXT, NUMBER]}, {"prefixItems": [TEXT, NUMBER]}),
        ({"type": "array", "items": TEXT}, {"type": "array", "items": TEXT}),
        ({**TEXT, "format": "date"}, {**TEXT, "format": "date"}),
        ({**TEXT, "format": "path"}, TEXT),
        ({**TEXT, "pattern": "^a+$"}, {**TEXT, "pattern": "^a+$"}),
        (LOOKS_AROUND, TEXT),
        ({**TEXT, "pattern": "(?!a).*"}, TEXT),
        ({**TEXT, "pattern": "(?<=a)b"}, TEXT),
        ({**TEXT, "pattern": "(?<!a)b"}, TEXT),
        ({**TEXT, "pattern": "(?:a|b)"}, {**TEXT, "pattern": "(?:a|b)"}),
        ({"type": "object", "properties": {"a": TEXT}}, closed(a=TEXT)),
        (
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": NUMBER},
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": NUMBER},
        ),
        ({"type": "object"}, {"type": "object"}),
    ],
)  # fmt: skip
def test_what_only_some_engines_know_is_left_out(given: Any, expected: Any) -> None:
    assert expected == portable(given)


@pytest.mark.parametrize("name", ["items", "additionalProperties"])
def test_it_is_left_out_of_single_schemas_within(name: str) -> None:
    assert {name: TEXT} == portable({name: LOOKS_AROUND})


@pytest.mark.parametrize("name", ["anyOf", "allOf", "prefixItems"])
def test_it_is_left_out_of_lists_of_schemas_within(name: str) -> None:
    assert {name: [TEXT, NUMBER]} == portable({name: [LOOKS_AROUND, NUMBER]})


@pytest.mark.parametrize("name", ["patternProperties", "$defs", "definitions"])
def test_it_is_left_out_of_named_schemas_within(name: str) -> None:
    assert {name: {"a": TEXT, "b": NUMBER}} == portable({name: {"a": LOOKS_AROUND, "b": NUMBER}})


def test_properties_may_have_the_names_of_keywords() -> None:
    assert closed(format=TEXT, oneOf=NUMBER, pattern=TEXT) == portable(
        {
            "type": "object",
            "properties": {"format": LOOKS_AROUND, "oneOf": NUMBER, "pattern": TEXT},
        }
    )


def test_the_given_schema_stays_as_it_is() -> None:
    given = {"properties": {"a": {"oneOf": [LOOKS_AROUND]}}, "x": 1}

    portable(given)
    wrapped(given)

    assert {"properties": {"a": {"oneOf": [LOOKS_AROUND]}}, "x": 1} == given


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, True),
        ({"type": "array"}, False),
        ({"anyOf": [{"type": "object"}]}, False),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}}, True),
        ({"$ref": "#/definitions/A", "definitions": {"A": {"type": "object"}}}, True),
        ({"$ref": "#/$defs/A", "$defs": {"A": TEXT}}, False),
        (
            {
                "$ref": "#/$defs/A",
                "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"type": "object"}},
            },
            True,
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, False),
        ({"$ref": "#/$defs/gone", "$defs": {}}, False),
        ({"$ref": "#/$defs/gone"}, False),
        ({"$ref": "#/properties/a", "properties": {"a": {"type": "object"}}}, True),
        ({"$ref": "#/$defs/A~1B%3F", "$defs": {"A/B?": {"type": "object"}}}, True),
        ({"$ref": "#/$defs/A/0", "$defs": {"A": TEXT}}, False),
    ],
)
def test_whether_all_values_are_objects(schema: dict[str, Any], expected: bool) -> None:
    assert expected is is_object(schema)


def test_what_is_no_object_becomes_a_property() -> None:
    assert {
        "type": "object",
        "properties": {"value": {"type": "array", "items": TEXT}},
        "required": ["value"],
        "additionalProperties": False,
    } == wrapped({"type": "array", "items": TEXT})


@pytest.mark.parametrize("name", ["$defs", "definitions"])
def test_definitions_stay_at_the_top_and_references_to_them_hold(name: str) -> None:
    reference = {"$ref": f"#/{name}/A"}
    schema = {"type": "array", "items": reference, name: {"A": {"anyOf": [TEXT, reference]}}}

    made = wrapped(schema)

    assert {"type": "array", "items": reference} == made["properties"]["value"]
    assert {"A": {"anyOf": [TEXT, reference]}} == made[name]
    assert {"type", "properties", "required", "additionalProperties", name} == made.keys()


def test_references_to_what_moves_follow_it() -> None:
    schema = {
        "type": "array",
        "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#/items"}, {"$ref": "other.json"}]},
        "$defs": {"A": {"prefixItems": [{"$ref": "#"}]}},
    }

    made = wrapped(schema)

    assert [
        {"$ref": "#/properties/value"},
        {"$ref": "#/properties/value/items"},
        {"$ref": "other.json"},
    ] == made["properties"]["value"]["items"]["anyOf"]
    assert {"prefixItems": [{"$ref": "#/properties/value"}]} == made["$defs"]["A"]
