"""Names of definitions: what servers refuse is renamed, and references follow."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.protocol.schemas.definition_names import (
    PLAIN_REFERENCE,
    uri_safe,
    with_itself_defined,
)
from mlxcel_integrations.protocol.schemas.references import check_references, target

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def ref(to: str, **siblings: Any) -> dict[str, Any]:
    return {"$ref": to, **siblings}


def references(schema: Any) -> list[str]:
    """Return all references in a schema, in their order."""
    if isinstance(schema, list):
        return [name for part in schema for name in references(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [name for part in schema.values() for name in references(part)]


@pytest.mark.parametrize(
    "schema",
    [
        TEXT,
        True,
        None,
        ref("#", type="object"),
        {"properties": {"a": ref("#/$defs/a.B-c_1")}, "$defs": {"a.B-c_1": TEXT}},
        ref("#/definitions/A", definitions={"A": TEXT}),
        ref("#/$defs/A/properties/b", **{"$defs": {"A": {"properties": {"b": TEXT}}}}),
        # Only references have to be URIs.
        {"$defs": {"not used": TEXT}, "properties": {"größe": TEXT}},
    ],
)
def test_a_schema_that_servers_take_stays_the_same_object(schema: Any) -> None:
    assert schema is uri_safe(schema)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Box[int]", "Box_int_"),
        ("Pair[int, str]", "Pair_int_str_"),
        ("two words", "two_words"),
        ("tests.case.<locals>.City", "tests.case._locals_.City"),
        ("a#b", "a_b"),
        ("a/b", "a_b"),
        ("a~b", "a_b"),
        ("100%", "100_"),
        ('"quoted"', "_quoted_"),
        ("Größe", "Gr_e"),
        ("都市", "_"),
        ("", "_"),
        ("\ud800", "_"),
    ],
)
@pytest.mark.parametrize("keyword", ["$defs", "definitions"])
def test_an_odd_name_becomes_a_plain_one(keyword: str, name: str, expected: str) -> None:
    escaped = name.replace("%", "%25").replace("~", "~0").replace("/", "~1")
    schema = {"properties": {"a": ref(f"#/{keyword}/{escaped}")}, keyword: {name: TEXT}}

    assert {
        "properties": {"a": ref(f"#/{keyword}/{expected}")},
        keyword: {expected: TEXT},
    } == uri_safe(schema)


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/a b~1c", "#/$defs/a%20b~1c", "#/$defs/a%20b%7E1c", "#/%24defs/%61%20b~1c"],
)
def test_a_reference_follows_however_it_is_escaped(reference: str) -> None:
    schema = {"items": ref(reference), "$defs": {"a b/c": TEXT}}

    assert {"items": ref("#/$defs/a_b_c"), "$defs": {"a_b_c": TEXT}} == uri_safe(schema)


def test_a_percent_encoded_reference_to_a_plain_name_is_written_plainly() -> None:
    schema = ref("#/$defs/%41", **{"$defs": {"A": TEXT}})

    assert ref("#/$defs/A", **{"$defs": {"A": TEXT}}) == uri_safe(schema)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a b", "a_b"], ["a_b_2", "a_b"]),
        (["a_b", "a b"], ["a_b", "a_b_2"]),
        (["a b", "a[b", "a#b"], ["a_b", "a_b_2", "a_b_3"]),
        (["a b", "a#b", "a_b_2", "a_b"], ["a_b_3", "a_b_4", "a_b_2", "a_b"]),
        (["都市", "国", "_"], ["__2", "__3", "_"]),
        (["ä", "ä_2", "ö"], ["_", "__2", "__3"]),
    ],
)
def test_two_names_never_become_one(names: list[str], expected: list[str]) -> None:
    given = {name: {"const": name} for name in names}
    schema = {"prefixItems": [ref(f"#/$defs/{name}") for name in names], "$defs": given}

    assert {
        "prefixItems": [ref(f"#/$defs/{name}") for name in expected],
        "$defs": {new: {"const": name} for new, name in zip(expected, names, strict=True)},
    } == uri_safe(schema)


def test_half_of_a_character_is_left_to_the_check_of_what_is_sent() -> None:
    schema = uri_safe({"properties": {"\ud800": TEXT}, "items": ref("#/properties/\ud800")})

    assert ref("#/properties/%ED%A0%80") == schema["items"]


ITSELF = {
    "alone": (
        {"properties": {"a": ref("#")}},
        {"properties": {"a": ref("#/$defs/root")}},
        {},
    ),
    "beside definitions": (
        {"items": [ref("#"), ref("#/$defs/root"), ref("#/items/0")], "$defs": {"root": TEXT}},
        {"items": [ref("#/$defs/root_"), ref("#/$defs/root"), ref("#/$defs/root_/items/0")]},
        {"root": TEXT},
    ),
}


@pytest.mark.parametrize(("schema", "itself", "others"), ITSELF.values(), ids=list(ITSELF))
def test_a_reference_to_the_whole_schema_leads_to_a_definition(
    schema: Any, itself: Any, others: Any
) -> None:
    name = "root_" if others else "root"

    assert {**itself, "$defs": {**others, name: itself}} == with_itself_defined(schema)


def test_without_such_a_reference_a_schema_stays_the_same_object() -> None:
    schema = {"properties": {"$ref": {"const": "#"}, "a": ref("#/properties/a")}}

    assert schema is with_itself_defined(schema)


def test_many_names_that_differ_only_in_odd_characters_take_little_time() -> None:
    names = [chr(0x4E00 + at) for at in range(20_000)]

    made = uri_safe(ref("#/$defs/一", **{"$defs": dict.fromkeys(names, TEXT)}))

    assert len(names) == len(made["$defs"])


def test_definitions_have_the_same_new_name_each_time() -> None:
    schema = {"prefixItems": [ref("#/$defs/ä"), ref("#/$defs/ö")], "$defs": {"ä": 1, "ö": 2}}

    assert uri_safe(schema) == uri_safe(copy.deepcopy(schema))


NODE = {
    "type": "object",
    "properties": {"value": NUMBER, "next": {"anyOf": [ref("#/$defs/Node[int]"), TEXT]}},
    "required": ["value"],
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (ref("#/$defs/Node[int]", **{"$defs": {"Node[int]": NODE}}), ["#/$defs/Node_int_"] * 2),
        (
            {"items": ref("#/$defs/a b", description="d", title="T"), "$defs": {"a b": TEXT}},
            ["#/$defs/a_b"],
        ),
        (
            {
                "items": ref("#/$defs/X[y]/properties/y"),
                "$defs": {"X[y]": {"properties": {"y": TEXT}}},
            },
            ["#/$defs/X_y_/properties/y"],
        ),
        # Names of properties are part of the answer, so these are encoded.
        (
            {
                "items": ref("#/$defs/X[y]/properties/y z/prefixItems/1"),
                "$defs": {"X[y]": {"properties": {"y z": {"prefixItems": [NUMBER, TEXT]}}}},
            },
            ["#/$defs/X_y_/properties/y%20z/prefixItems/1"],
        ),
        (
            {"properties": {"a/ö~": TEXT, "b": ref("#/properties/a~1ö~0")}},
            ["#/properties/a~1%C3%B6~0"],
        ),
        (
            {
                "items": ref("#/$defs/x/properties/a b"),
                "$defs": {"x": {"properties": {"a b": TEXT}}, "a b": NUMBER},
            },
            ["#/$defs/x/properties/a%20b"],
        ),
        # Definitions may stand anywhere, as those of a tool do.
        (
            {
                "properties": {"x": ref("#/$defs/call0/$defs/a b"), "y": ref("#/$defs/a#b")},
                "$defs": {"call0": {"$defs": {"a b": TEXT}}, "a#b": NUMBER},
            },
            ["#/$defs/call0/$defs/a_b_2", "#/$defs/a_b"],
        ),
        # A property may have the name of a keyword, and a definition that of a property.
        (
            {
                "properties": {
                    "$defs": {"properties": {"a b": TEXT}},
                    "x": ref("#/properties/$defs/properties/a b"),
                    "y": ref("#/$defs/a b"),
                },
                "$defs": {"a b": NUMBER},
            },
            ["#/properties/$defs/properties/a%20b", "#/$defs/a_b"],
        ),
        (
            {
                "properties": {"x": ref("#/$defs/$defs/properties/p"), "y": ref("#/$defs/a b")},
                "$defs": {"$defs": {"properties": {"p": TEXT}}, "a b": NUMBER},
            },
            ["#/$defs/_defs/properties/p", "#/$defs/a_b"],
        ),
    ],
)  # fmt: skip
def test_references_lead_where_they_led(schema: dict[str, Any], expected: list[str]) -> None:
    given = copy.deepcopy(schema)

    made = uri_safe(schema)

    assert expected == references(made)
    assert given == schema
    check_references(made)
    for old, new in zip(references(schema), references(made), strict=True):
        assert target(schema, old)["type"] == target(made, new)["type"]


@pytest.mark.parametrize(
    "value", [{"value": 1}, {"value": 1, "next": {"value": "x"}}, {"value": 1, "next": "x"}, []]
)
def test_answers_fit_as_before(value: Any) -> None:
    schema = ref("#/$defs/Node[int]", **{"$defs": {"Node[int]": NODE}})
    sent = uri_safe(schema)

    assert Draft202012Validator(schema).is_valid(value) == Draft202012Validator(sent).is_valid(
        value
    )


@pytest.mark.parametrize("keyword", ["const", "default", "examples", "enum"])
def test_values_that_look_like_references_stay(keyword: str) -> None:
    value = [{"$ref": "#/$defs/a b", "$defs": {"a b": 1}}]
    schema = {keyword: value, "items": ref("#/$defs/a b"), "$defs": {"a b": TEXT}}

    assert value == uri_safe(schema)[keyword]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (ref("other.json#/a b"), ["other.json#/a b"]),
        (ref("#a b"), ["#a b"]),
        (ref("ä", **{"$defs": {1: TEXT}}), ["ä"]),
        ({"properties": {"a": ref("#/x y")}, "$defs": ["x y"]}, ["#/x%20y"]),
    ],
)
def test_a_reference_to_no_definition_is_left_to_the_server(
    schema: Any, expected: list[str]
) -> None:
    assert expected == references(uri_safe(schema))


def test_a_reference_to_all_definitions_stays() -> None:
    schema = {"prefixItems": [ref("#/$defs"), ref("#/$defs/a b")], "$defs": {"a b": TEXT}}

    assert ["#/$defs", "#/$defs/a_b"] == references(uri_safe(schema))


# --------------------------------------------------------------------------- requests

SCHEMA = {"type": "object", "properties": {"a": ref("#/$defs/a b")}, "$defs": {"a b": TEXT}}


def given_format(schema: Any) -> dict[str, Any]:
    inner = {"name": "f", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": inner}


def test_a_given_response_format_is_sent_with_plain_names() -> None:
    body = chat_request("m", inspect("hi"), {"response_format": given_format(SCHEMA)}).body

    assert given_format(uri_safe(SCHEMA)) == body["response_format"]


def test_extra_body_is_sent_as_it_is() -> None:
    extra = {"response_format": given_format(SCHEMA)}

    body = chat_request("m", inspect("hi"), {"extra_body": extra}).body

    assert extra["response_format"] is body["response_format"]


def test_a_forced_call_is_sent_with_plain_names() -> None:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in "fg"
    ]
    sampling = {"tools": tools, "tool_choice": "required"}

    body = chat_request("m", inspect("hi"), sampling).body

    sent = references(body["response_format"])
    assert 4 == len(sent)
    assert all(PLAIN_REFERENCE.fullmatch(name) for name in sent)
    check_references(body["response_format"]["json_schema"]["schema"])
    assert tools == body["tools"]
