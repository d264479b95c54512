"""References of schemas: where they lead, and which recursions are refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.schemas.references import check_references, is_object

TEXT = {"type": "string"}


def refused(schema: Any) -> str:
    with pytest.raises(MlxcelError) as caught:
        check_references(schema)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "#/$defs/A",
        "#/$defs/a~1b",
        "#/$defs/c~0d",
        "#/$defs/e%20f",
        "#/prefixItems/1",
        "#/$defs/all",
    ],
)
def test_references_lead_where_json_pointers_do(name: str) -> None:
    check_references(
        {
            "prefixItems": [{"$ref": name}, TEXT],
            "$defs": {"A": TEXT, "a/b": TEXT, "c~d": TEXT, "e f": TEXT, "all": True},
        }
    )


def test_a_schema_may_refer_to_itself_where_that_can_end() -> None:
    check_references({"properties": {"next": {"$ref": "#"}}})


@pytest.mark.parametrize(
    "name", ["#/$defs/gone", "#/prefixItems/7", "#/prefixItems/x", "#/title", "#/title/x", "#A"]
)
def test_references_that_lead_nowhere_are_refused(name: str) -> None:
    schema = {"prefixItems": [{"$ref": name}], "title": "T"}

    assert (
        f"The schema refers to '{name}' at /prefixItems/0/$ref, but there is no such part: write "
        'it as "#/$defs/<name>", and put the schema there.'
    ) == refused(schema)


def test_references_to_elsewhere_are_refused() -> None:
    assert (
        "The schema refers to 'http://a/b.json' at /$ref, outside of itself: copy that schema "
        "into $defs, since servers fetch nothing."
    ) == refused({"$ref": "http://a/b.json"})


@pytest.mark.parametrize("keyword", ["$dynamicRef", "$recursiveRef"])
def test_dynamic_references_are_refused(keyword: str) -> None:
    assert (
        f"The schema refers to '#' by {keyword} at /items, which servers do not follow: use $ref, "
        "and put the schema into $defs."
    ) == refused({"items": {keyword: "#"}})


def test_properties_may_be_named_like_references() -> None:
    check_references({"properties": {"$ref": TEXT, "$dynamicRef": TEXT}})


@pytest.mark.parametrize(
    "schema",
    [{"required": True}, {"properties": [1], "required": ["a"]}, {"minItems": "x"}, {"allOf": 1}],
)
def test_keywords_with_values_of_the_wrong_kind_are_refused(schema: Any) -> None:
    assert "The schema has a keyword with a value of the wrong kind" in refused(schema)


def test_a_number_of_items_may_be_written_as_a_float() -> None:
    check_references({"prefixItems": [{"$ref": "#/$defs/A"}], "minItems": 1.0, "$defs": {"A": {}}})


def test_whether_references_end_is_found_out_soon() -> None:
    last = {"allOf": [{}] * 300}
    names = [f"a{level}" for level in range(60)]
    definitions: dict[str, Any] = {
        name: {"allOf": [last, {"$ref": f"#/$defs/{after}"}]}
        for name, after in zip(names, [*names[1:], "end"], strict=True)
    }
    started = time.thread_time()
    check_references({"$ref": "#/$defs/a0", "$defs": {**definitions, "end": last}})

    assert time.thread_time() - started < 10


NODE = {"$ref": "#/$defs/Node"}


@pytest.mark.parametrize(
    "node",
    [
        {"properties": {"next": NODE}, "required": ["next"]},
        {"allOf": [NODE]},
        {"anyOf": [NODE, NODE]},
        {"oneOf": [NODE]},
        {"items": NODE, "minItems": 1},
        {"prefixItems": [TEXT, NODE], "minItems": 2},
        {"prefixItems": [TEXT], "items": NODE, "minItems": 2},
    ],
)
def test_a_recursion_without_end_is_refused(node: Any) -> None:
    assert (
        "The schema is recursive without end at #/$defs/Node: an object of it requires another one "
        "of the same kind. Make that property optional, or allow null for it."
    ) == refused({**NODE, "$defs": {"Node": node}})


@pytest.mark.parametrize(
    "node",
    [
        {"properties": {"next": NODE}},
        {"properties": {"next": NODE}, "required": ["name"]},
        {"anyOf": [NODE, TEXT]},
        {"oneOf": [TEXT, NODE]},
        {"required": ["name"]},
        {"items": NODE},
        {"prefixItems": [NODE]},
        {"prefixItems": [TEXT, NODE]},
        {"prefixItems": [TEXT, NODE], "minItems": 1},
        {"prefixItems": [TEXT], "items": NODE, "minItems": 1},
        {"allOf": [TEXT]},
    ],
)
def test_a_recursion_that_can_end_is_accepted(node: Any) -> None:
    check_references({**NODE, "$defs": {"Node": node}})


def test_what_ends_only_through_others_is_accepted() -> None:
    needs = {"properties": {"a": {"$ref": "#/$defs/B"}}, "required": ["a"]}

    check_references(
        {"$ref": "#/$defs/A", "$defs": {"A": needs, "B": {"anyOf": [TEXT, NODE]}, "Node": needs}}
    )


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
