"""Relaxation: what a server cannot compile is left out, once it has said so."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from jsonschema.validators import validator_for

from mlxcel_integrations.protocol.failures import Failure
from mlxcel_integrations.protocol.schemas.relaxation import RefusedSchemas, relaxed

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}


def of(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


RELAXED = [
    ({"oneOf": [TEXT, NUMBER]}, {"anyOf": [TEXT, NUMBER]}),
    ({"oneOf": [TEXT], "anyOf": [NUMBER]}, {"anyOf": [NUMBER]}),
    ({**TEXT, "not": {"const": "a"}}, TEXT),
    ({**of(a=TEXT), "dependencies": {"a": ["b"]}}, of(a=TEXT)),
    ({**of(a=TEXT), "dependentRequired": {"a": ["b"]}}, of(a=TEXT)),
    ({**of(a=TEXT), "dependentSchemas": {"a": {"required": ["b"]}}}, of(a=TEXT)),
    ({**of(a=TEXT), "propertyNames": {"maxLength": 1}}, of(a=TEXT)),
    ({**of(a=TEXT), "if": {"required": ["a"]}, "then": False, "else": True}, of(a=TEXT)),
    ({**of(a=TEXT), "minProperties": 1}, of(a=TEXT)),
    ({"type": "array", "uniqueItems": True}, {"type": "array"}),
    ({"type": "array", "contains": TEXT, "minContains": 2}, {"type": "array"}),
    ({"type": "array", "unevaluatedItems": False}, {"type": "array"}),
    ({**TEXT, "format": "iri"}, TEXT),
    ({**TEXT, "format": "date"}, {**TEXT, "format": "date"}),
    ({**TEXT, "pattern": "^(?=a)"}, TEXT),
    ({**TEXT, "pattern": r"(a)\1"}, TEXT),
    ({**TEXT, "pattern": "^(?:a|b)$"}, {**TEXT, "pattern": "^(?:a|b)$"}),
    ({**NUMBER, "multipleOf": 0.1}, NUMBER),
    (
        {"type": "object", "patternProperties": {"^(?!a)": TEXT}, "additionalProperties": False},
        {"type": "object"},
    ),
    (
        {"type": "object", "patternProperties": {"^a": TEXT}, "additionalProperties": False},
        {"type": "object", "patternProperties": {"^a": TEXT}, "additionalProperties": False},
    ),
    ({"$ref": "#/$defs/a", "minLength": 3, "$defs": {"a": TEXT}},
     {"$ref": "#/$defs/a", "$defs": {"a": TEXT}}),
    ({"$schema": "http://json-schema.org/draft-04/schema#", "id": "x", **NUMBER,
      "minimum": 1, "exclusiveMinimum": True}, {**NUMBER, "exclusiveMinimum": 1}),
    ({**NUMBER, "minimum": 1, "exclusiveMinimum": False}, {**NUMBER, "minimum": 1}),
    ({"type": "array", "items": [TEXT, NUMBER], "additionalItems": False},
     {"type": "array", "prefixItems": [TEXT, NUMBER], "maxItems": 2}),
    ({"type": "array", "prefixItems": [TEXT, NUMBER], "items": False, "maxItems": 1},
     {"type": "array", "prefixItems": [TEXT, NUMBER], "maxItems": 1}),
    ({"type": "array", "items": False}, {"type": "array", "items": {}}),
    (of(a=True, b=False), of(a={}, b={})),
    ({"anyOf": [True, TEXT]}, {"anyOf": [{}, TEXT]}),
    ({**of(a=TEXT), "additionalProperties": True}, {**of(a=TEXT), "additionalProperties": True}),
    (of(a={**TEXT, "required": True}), of(a=TEXT)),
    # Properties may be named as keywords are.
    (of(uniqueItems=TEXT, format=TEXT), of(uniqueItems=TEXT, format=TEXT)),
    (of(a={"items": {"oneOf": [TEXT]}}), of(a={"items": {"anyOf": [TEXT]}})),
    (True, {}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "expected"), RELAXED, ids=lambda value: json.dumps(value)[:60])
def test_keywords_that_some_engine_does_not_know_are_left_out(schema: Any, expected: Any) -> None:
    before = json.dumps(schema)

    assert expected == relaxed(schema, 1)
    assert schema == relaxed(schema, 0)
    assert before == json.dumps(schema)


VALUES = [None, True, 0, 1, 1.5, "", "a", "aa", "date", [], ["a"], ["a", "a"], [1, "a"], {},
          {"a": "a"}, {"a": "a", "b": 1}, {"b": "a"}]  # fmt: skip


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("schema", [schema for schema, _ in RELAXED], ids=lambda s: str(s)[:60])
def test_what_a_schema_allows_its_relaxed_form_allows(schema: Any, level: int) -> None:
    modern = jsonschema.Draft202012Validator
    older = isinstance(schema, dict) and isinstance(schema.get("items"), list)
    validator = jsonschema.Draft7Validator if older else validator_for(schema, modern)
    allowed = [value for value in VALUES if validator(schema).is_valid(value)]

    sent = jsonschema.Draft202012Validator(relaxed(schema, level))
    assert allowed == [value for value in allowed if sent.is_valid(value)]


def test_only_the_structure_is_left_in_the_end() -> None:
    schema = of(a={**TEXT, "pattern": "^a", "title": "A"}, b={"oneOf": [TEXT, {"minLength": 1}]})

    assert of(a={**TEXT, "title": "A"}, b={"anyOf": [TEXT, {}]}) == relaxed(schema, 2)


# --------------------------------------------------------------------------- servers


def body(schema: Any) -> Json:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}


def refusal(message: str = "invalid JSON schema for response_format", status: int = 400) -> Failure:
    return Failure("BadRequestError", "400", status, {"message": message})


UNIQUE = {"type": "array", "items": TEXT, "uniqueItems": True}
PATTERN = {**TEXT, "pattern": "^(?=a)"}


def test_a_refusal_is_remembered() -> None:
    schemas = RefusedSchemas()
    assert body(UNIQUE) == schemas.adapted(body(UNIQUE))

    changed = schemas.learn(body(UNIQUE), refusal())

    assert body({"type": "array", "items": TEXT}) == changed
    assert changed == schemas.adapted(body(UNIQUE))
    nested = of(a=UNIQUE, b=PATTERN)
    assert body(relaxed(nested, 1)) == schemas.adapted(body(nested))


@pytest.mark.parametrize("schema", [TEXT, PATTERN, of(uniqueItems=TEXT), {**NUMBER, "minimum": 1}])
def test_a_refusal_says_nothing_about_other_keywords(schema: Json) -> None:
    schemas = RefusedSchemas()
    schemas.learn(body(UNIQUE), refusal())

    assert body(schema) == schemas.adapted(body(schema))


@pytest.mark.parametrize(
    "message",
    [
        "JSON schema error at #/properties/a: schema must be an object.",
        "Automatic parser generation failed: At least one of min_value or max_value must be set.",
    ],
)
def test_what_cannot_be_compiled_is_told_in_several_ways(message: str) -> None:
    schema = of(a=True, b={"type": "integer", "minimum": 10**20})

    assert RefusedSchemas().learn(body(schema), refusal(message)) is not None


def test_boolean_schemas_are_remembered_but_those_of_closed_objects() -> None:
    schemas = RefusedSchemas()
    schemas.learn(body(of(a=True)), refusal())

    assert body(of(b={})) == schemas.adapted(body(of(b=True)))
    assert body(of(a=TEXT)) == schemas.adapted(body(of(a=TEXT)))


def test_a_value_that_cannot_be_compiled_is_remembered_for_its_schema_alone() -> None:
    schemas = RefusedSchemas()
    large, small = ({**TEXT, "pattern": pattern} for pattern in ("^(a{500}){500}$", "^a$"))

    assert body(TEXT) == schemas.learn(body(large), refusal())
    assert body(TEXT) == schemas.adapted(body(large))
    assert body(small) == schemas.adapted(body(small))


def test_a_second_refusal_leaves_the_structure_and_a_third_is_final() -> None:
    schemas, schema = RefusedSchemas(), {**PATTERN, "minLength": 3}

    assert body({**TEXT, "minLength": 3}) == schemas.learn(body(schema), refusal())
    assert body(TEXT) == schemas.learn(body(schema), refusal())
    assert schemas.learn(body(schema), refusal()) is None


@pytest.mark.parametrize(
    ("sent", "failure"),
    [
        (body(UNIQUE), refusal("the prompt has too many tokens")),
        (body(UNIQUE), refusal(status=503)),
        (body(UNIQUE), refusal("matcher returned an empty mask: it would violate the schema")),
        (body(of(a=TEXT)), refusal()),
        ({}, refusal()),
        ({"response_format": {"type": "json_schema", "json_schema": 3}}, refusal()),
    ],
    ids=str,
)
def test_other_refusals_stay_errors(sent: Json, failure: Failure) -> None:
    schemas = RefusedSchemas()

    assert schemas.learn(sent, failure) is None
    assert sent == schemas.adapted(sent)


@pytest.mark.parametrize("value", [3, None, ["x"], {}], ids=str)
@pytest.mark.parametrize("keyword", ["format", "pattern", "patternProperties"])
def test_values_that_a_keyword_cannot_have_are_left_to_the_server(keyword: str, value: Any) -> None:
    """Parameters of tools are not checked by the schema of schemas."""
    sent = body(of(a={**TEXT, keyword: value}))

    RefusedSchemas().learn(sent, refusal())
