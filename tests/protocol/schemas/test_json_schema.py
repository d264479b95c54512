"""JSON schemas as servers take them: sizes, references, and what is changed in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.schemas.json_schema import (
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    check_schema_size,
    compact,
    normalized,
    pointer,
    rebased,
    wrapped,
)
from tests.protocol.schemas.large_schemas import nested, of_size

TEXT = {"type": "string"}


def refused(schema: Any) -> str:
    with pytest.raises(MlxcelError) as caught:
        check_schema_size(schema)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [((), "/"), (("a", 0), "/a/0"), (("a/b", "c~d"), "/a~1b/c~0d")],
)
def test_places_are_json_pointers(path: tuple[object, ...], expected: str) -> None:
    assert expected == pointer(path)


def test_texts_are_counted_as_they_are_sent() -> None:
    assert '{"a":["ü",1]}' == compact({"a": ["ü", 1]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact(float("nan"))


def test_a_schema_may_be_very_large() -> None:
    check_schema_size(of_size(MAX_SCHEMA_BYTES))

    assert (
        f"The schema has {MAX_SCHEMA_BYTES + 1} bytes, but at most {MAX_SCHEMA_BYTES} are "
        "possible. The largest part is /properties/large: shorten it, or ask in several steps."
    ) == refused(of_size(MAX_SCHEMA_BYTES + 1))


def test_a_large_schema_without_parts_is_told_as_a_whole() -> None:
    assert "The largest part is /:" in refused({"title": "x" * MAX_SCHEMA_BYTES})


def test_the_largest_part_may_be_in_a_list() -> None:
    schema = {"anyOf": [{"title": "x" * MAX_SCHEMA_BYTES}, {"title": "y", "type": "string"}]}

    assert "The largest part is /anyOf/0:" in refused(schema)


def test_a_schema_may_be_very_deep() -> None:
    check_schema_size(nested(MAX_SCHEMA_DEPTH))

    place = "/items" * MAX_SCHEMA_DEPTH
    assert (
        f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels, at {place}: move inner "
        "objects to $defs and refer to them."
    ) == refused(nested(MAX_SCHEMA_DEPTH + 1))


# --------------------------------------------------------------------------- changes

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
    assert expected == normalized(given)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^[A-Z]{2}\d$", "^[A-Z]{2}[0-9]$"),
        (r"^\d{4}\-\d{2}$", r"^[0-9]{4}\-[0-9]{2}$"),
        (r"^[\d.-]+[a\d-]$", "^[0-9.-]+[a0-9-]$"),
        (r"[\]\d]\d", r"[\]0-9][0-9]"),
        (r"\\\d[\\\d]", r"\\[0-9][\\0-9]"),
        (r"\\d[\\d]", r"\\d[\\d]"),
        # A range needs two characters.
        (r"[\d-z]", r"[\d-z]"),
        (r"[^\d]", r"[^\d]"),
    ],
)
def test_digits_of_a_pattern_are_written_out(pattern: str, expected: str) -> None:
    assert {**TEXT, "pattern": expected} == normalized({**TEXT, "pattern": pattern})


@pytest.mark.parametrize("name", ["items", "additionalProperties"])
def test_it_is_left_out_of_single_schemas_within(name: str) -> None:
    assert {name: TEXT} == normalized({name: LOOKS_AROUND})


@pytest.mark.parametrize("name", ["anyOf", "allOf", "prefixItems"])
def test_it_is_left_out_of_lists_of_schemas_within(name: str) -> None:
    assert {name: [TEXT, NUMBER]} == normalized({name: [LOOKS_AROUND, NUMBER]})


@pytest.mark.parametrize("name", ["patternProperties", "$defs", "definitions"])
def test_it_is_left_out_of_named_schemas_within(name: str) -> None:
    assert {name: {"a": TEXT, "b": NUMBER}} == normalized({name: {"a": LOOKS_AROUND, "b": NUMBER}})


def test_properties_may_have_the_names_of_keywords() -> None:
    assert closed(format=TEXT, oneOf=NUMBER, pattern=TEXT) == normalized(
        {
            "type": "object",
            "properties": {"format": LOOKS_AROUND, "oneOf": NUMBER, "pattern": TEXT},
        }
    )


def test_the_given_schema_stays_as_it_is() -> None:
    given = {"properties": {"a": {"oneOf": [LOOKS_AROUND]}}, "x": 1}

    normalized(given)
    wrapped(given)

    assert {"properties": {"a": {"oneOf": [LOOKS_AROUND]}}, "x": 1} == given


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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda part: {"properties": {"a": part}},
        lambda part: {"$defs": {"A": part}},
        lambda part: {"dependentSchemas": {"a": part}},
        lambda part: {"items": part},
        lambda part: {"items": [TEXT, part]},
        lambda part: {"anyOf": [TEXT, part]},
        lambda part: {"not": part},
        lambda part: {"additionalProperties": part},
        lambda part: {"properties": {"$ref": part}},
    ],
)
def test_references_are_rebased_wherever_schemas_stand(wrap: Callable[[Any], Any]) -> None:
    given = wrap({"$ref": "#/$defs/A"})

    assert wrap({"$ref": "#/$defs/tool/$defs/A"}) == rebased(given, "#/$defs/tool")
    assert wrap({"$ref": "#/$defs/A"}) == rebased(given, "#/x", staying=("#/$defs/",))
    assert wrap({"$ref": "#/$defs/A"}) == given


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"$ref": "#/a"}},
        {"enum": [{"$ref": "#/a"}]},
        {"default": {"$ref": "#/a"}},
        {"$ref": "other.json#/a"},
        {"properties": ["$ref"]},
        {"additionalProperties": False},
        True,
    ],
)
def test_values_and_what_is_elsewhere_are_not_rebased(schema: Any) -> None:
    assert schema == rebased(schema, "#/x")
