"""Schemas as the engine of mlxcel compiles them: with llguidance, on a scripted server."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.protocol.schemas.bounds import bounded
from mlxcel_integrations.protocol.schemas.tight_bounds import tightly_bounded
from tests.benchmarks.schemas import Server, outcome

Json = dict[str, Any]

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
OLD = {"$schema": "http://json-schema.org/draft-07/schema#"}


def of(**properties: Any) -> Json:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required}


KINDS: dict[str, tuple[Any, Any, Any]] = {
    "object": (of(a=TEXT, b=WHOLE), {"a": "x", "b": 1}, {"a": "x"}),
    "list": ({"type": "array", "items": WHOLE}, [1, 2], ["x"]),
    "text": ({**TEXT, "minLength": 2}, "ab", "a"),
    "whole number": ({**WHOLE, "minimum": 3}, 3, 2),
    "number": ({"type": "number", "maximum": 3}, 2.5, 3.5),
    "multiple": (of(a={"type": "number", "multipleOf": 0.5}), {"a": 1.5}, {"a": 1.3}),
    "choice": ({"enum": ["a", 1, None]}, None, "b"),
    "constant": (of(a={"const": 7}), {"a": 7}, {"a": 8}),
    "union": ({"anyOf": [TEXT, WHOLE]}, "x", 1.5),
    "one of": ({"oneOf": [TEXT, WHOLE]}, 1, 1.5),
    "overlapping": ({"oneOf": [WHOLE, {"type": "number"}]}, 1.5, 1),
    "all of": ({"allOf": [{**TEXT, "minLength": 2}, {"maxLength": 3}]}, "abc", "abcd"),
    "not": (of(a={"type": "string", "not": {"const": "x"}}), {"a": "y"}, {"a": "x"}),
    "if": (
        {**of(a=WHOLE), "if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}},
        {"a": 1, "b": 2},
        {"a": 1},
    ),
    "unique": ({"type": "array", "uniqueItems": True, "items": WHOLE}, [1, 2], [1, 1]),
    "contains": ({"type": "array", "contains": {"const": 1}}, [2, 1], [2]),
    "names": ({"type": "object", "propertyNames": {"pattern": "^a"}}, {"ab": 1}, {"b": 1}),
    "number of entries": ({**of(a=TEXT), "minProperties": 2}, {"a": "x", "b": 1}, {"a": "x"}),
    "dependent": ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
    "old dependencies": (
        {**OLD, "type": "object", "dependencies": {"a": ["b"]}},
        {"b": 1},
        {"a": 1},
    ),
    "unevaluated": ({**of(a=TEXT), "unevaluatedProperties": False}, {"a": "x"}, {"a": "x", "b": 1}),
    "pattern": ({**TEXT, "pattern": "^a+$"}, "aa", "ab"),
    "look-around": ({**TEXT, "pattern": "^(?=.*a)[ab]+$"}, "ba", "bb"),
    "date": ({**TEXT, "format": "date"}, "2026-01-31", "2026-01-32"),
    "email of any language": ({**TEXT, "format": "idn-email"}, "a@b.de", "a"),
    "unknown format": ({**TEXT, "format": "colour"}, "red", 1),
    "tuple": ({"type": "array", "prefixItems": [TEXT, WHOLE], "items": False}, ["x", 1], [1, "x"]),
    "old tuple": (
        {
            **OLD,
            "type": "array",
            "items": [TEXT, WHOLE],
        },
        ["x", 1],
        [1, "x"],
    ),
    "recursive": (
        {
            "$ref": "#/$defs/A",
            "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}},
        },
        {"a": {"a": {}}},
        {"a": 1},
    ),
    "closed": ({**of(a=TEXT), "additionalProperties": False}, {"a": "x"}, {"a": "x", "b": 1}),
    "odd names": (
        {"$ref": "#/$defs/Box[int]", "$defs": {"Box[int]": of(a=WHOLE)}},
        {"a": 1},
        {"a": "x"},
    ),
}


@pytest.fixture(scope="module")
def server() -> Server:
    pytest.importorskip("llguidance", reason="it compiles the schemas")
    return Server()


@pytest.mark.parametrize(("schema", "fits", "misfits"), KINDS.values(), ids=list(KINDS))
def test_each_kind_of_schema_is_enforced_or_checked(
    server: Server, schema: Json, fits: Any, misfits: Any
) -> None:
    tests = [{"valid": True, "data": fits}, {"valid": False, "data": misfits}]
    with LLM(base_url="http://scripted", served_model="m", transport=server) as llm:
        assert "passes" == outcome(llm, server, schema, tests)


@pytest.mark.parametrize("change", [bounded, tightly_bounded])
@pytest.mark.parametrize("name", ["object", "list", "text", "whole number", "union", "recursive"])
def test_bounds_are_compiled_and_leave_short_answers(
    server: Server, change: Any, name: str
) -> None:
    schema, fits, _ = KINDS[name]
    server.data = fits

    assert ("", True) == server.compiled(change(schema, 400))


@pytest.mark.parametrize("name", ["long text", "long list", "many digits", "more entries"])
def test_tight_bounds_end_what_does_not_end(server: Server, name: str) -> None:
    schema = of(a=TEXT, b={"type": "array", "items": TEXT}, c=WHOLE)
    endless = {
        "long text": {"a": "x" * 500, "b": [], "c": 1},
        "long list": {"a": "x", "b": ["x"] * 100, "c": 1},
        "many digits": {"a": "x", "b": [], "c": 10**18},
        "more entries": {"a": "x", "b": [], "c": 1, "d": 1},
    }
    server.data = endless[name]

    assert ("", True) == server.compiled(schema)
    assert ("", False) == server.compiled(tightly_bounded(schema, 400))
