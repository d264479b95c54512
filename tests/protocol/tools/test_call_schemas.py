"""Schemas of calls: what a server is to compile."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.tools.call_schemas import (
    CallSchemas,
    any_of,
    compilable,
    object_of,
)

NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["next"],
}
POINT = {
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/Point"}},
    "$defs": {"Point": {"type": "integer"}},
    "required": ["at"],
}


def schema_of(*functions: dict[str, Any]) -> Any:
    schemas = CallSchemas()
    forms = any_of([schemas.call(function) for function in functions])
    return schemas.response_format(forms)["json_schema"]["schema"]


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"name": "a", "arguments": {"next": {"next": None}}}, True),
        ({"name": "b", "arguments": {"at": 1}}, True),
        ({"name": "c", "arguments": {}}, True),
        ({"name": "a", "arguments": {"at": 1}}, False),
        ({"name": "b", "arguments": {"at": "1"}}, False),
        ({"name": "b", "arguments": {"at": 1, "more": 1}}, False),
        ({"name": "c", "arguments": {"at": 1}}, False),
        ({"name": "d", "arguments": {}}, False),
        ({"name": "c"}, False),
    ],
)
def test_each_call_has_the_arguments_of_its_tool(value: Any, fits: bool) -> None:
    schema = schema_of(
        {"name": "a", "parameters": NODE}, {"name": "b", "parameters": POINT}, {"name": "c"}
    )

    assert fits == jsonschema.Draft202012Validator(schema).is_valid(value)


def test_tools_without_references_add_none() -> None:
    """mlxcel accepts 64."""
    flat = {"type": "object", "properties": {"city": {"type": "string"}}}
    schema = schema_of(*({"name": f"tool{n}", "parameters": flat} for n in range(128)))

    assert 128 == len(schema["anyOf"])
    assert "$defs" not in schema


def test_an_object_has_exactly_its_properties() -> None:
    schema = object_of(a={"const": 1})

    assert [True, False, False] == [
        jsonschema.Draft202012Validator(schema).is_valid(value)
        for value in ({"a": 1}, {}, {"a": 1, "b": 1})
    ]


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"a": {"$ref": "#/$defs/x"}}, "The schema refers to '#/$defs/x' at /properties/a/$ref"),
        ({"a": {"$ref": "http://x/y"}}, "The schema refers to 'http://x/y' at /properties/a/$ref"),
    ],
)
def test_wrong_parameters_are_an_error_that_names_the_tool(parameters: Any, problem: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        schema_of({"name": "f", "parameters": {"type": "object", "properties": parameters}})
    assert str(caught.value).startswith(f"The parameters of the tool 'f': {problem}")


PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"a": True, "b": False, "c": {"$ref": "#"}, "d": {"type": "integer"}},
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "value", [{"a": 1}, {"b": 1}, {"c": {"d": 1}}, {"c": {"d": "x"}}, {"e": 1}]
)
def test_parameters_mean_the_same_in_the_form_for_llama_cpp(value: Any) -> None:
    function = {"name": "f", "parameters": PARAMETERS}
    (tool,) = compilable([{"type": "function", "function": function}])

    changed = tool["function"]["parameters"]
    assert ({}, {"not": {}}, {"$ref": "#/$defs/root"}) == tuple(changed["properties"].values())[:3]
    assert changed["additionalProperties"] is False
    before, after = map(jsonschema.Draft202012Validator, (PARAMETERS, changed))
    assert before.is_valid(value) == after.is_valid(value)


@pytest.mark.parametrize(
    "more",
    [{}, {"parameters": {"type": "object", "properties": {"a": "no schema"}}}],
    ids=["none", "what is no schema"],
)
def test_parameters_that_servers_know_or_refuse_stay_as_they_are(more: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f", **more}}]

    assert tools == compilable(tools)


def test_too_deep_parameters_are_an_error() -> None:
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"type": "object", "properties": {"x": deep}}
    with pytest.raises(MlxcelError, match="nested deeper"):
        schema_of({"name": "deep", "parameters": deep})
