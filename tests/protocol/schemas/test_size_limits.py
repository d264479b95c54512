"""Limits of mlxcel for schemas: what is beyond them, and what is made smaller."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.schemas.size_limits import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_REFERENCES,
    exceeds_limits,
    within_limits,
)
from tests.protocol.schemas.large_schemas import nested, of_size

TEXT = {"type": "string"}


def referring(count: int) -> Any:
    return {"prefixItems": [{"$ref": "#/$defs/A"}] * count, "$defs": {"A": TEXT}}


def as_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


BEYOND = {
    "bytes": (
        of_size(MAX_BYTES),
        of_size(MAX_BYTES + 1),
        f"The schema has {MAX_BYTES + 1} bytes, but mlxcel accepts at most {MAX_BYTES}. The "
        "largest part is /properties/large: shorten it, or ask in several steps.",
    ),
    "levels": (
        nested(MAX_DEPTH),
        nested(MAX_DEPTH + 1),
        f"The schema is nested deeper than the {MAX_DEPTH} levels that mlxcel accepts, at "
        f"{'/items' * MAX_DEPTH}: move inner objects to $defs and refer to them.",
    ),
    "references": (
        referring(MAX_REFERENCES),
        referring(MAX_REFERENCES + 1),
        f"The schema has {MAX_REFERENCES + 1} references ($ref), but mlxcel accepts at most "
        f"{MAX_REFERENCES}. The first one too many is at /prefixItems/{MAX_REFERENCES}/$ref: use "
        "fewer kinds of objects.",
    ),
}


@pytest.mark.parametrize(("within", "beyond", "message"), BEYOND.values(), ids=list(BEYOND))
def test_a_schema_beyond_a_limit_is_refused(within: Any, beyond: Any, message: str) -> None:
    assert within is within_limits(within)
    assert not exceeds_limits(as_format(within))

    assert exceeds_limits(as_format(beyond))
    for _ in range(2):
        with pytest.raises(MlxcelError) as caught:
            within_limits(beyond)
        assert message == str(caught.value)


LONG = {"title": "x" * MAX_BYTES}
BOX = {"type": "object", "properties": {"in": {"$ref": "#/$defs/Box"}}}
EVEN = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Odd"}}}
ODD = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Even"}}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"items": TEXT, "$defs": {"A": LONG}}, {"items": TEXT}),
        (
            {"items": {"$ref": "#/$defs/A"}, "$defs": {"A": TEXT, "B": LONG}},
            {"items": {"$ref": "#/$defs/A"}, "$defs": {"A": TEXT}},
        ),
        (
            {"$ref": "#/definitions/Box", "definitions": {"Box": TEXT}, "$defs": {"B": LONG}},
            {"$ref": "#/definitions/Box", "definitions": {"Box": TEXT}},
        ),
        (
            {"$ref": "#/$defs/Box", "$defs": {"Box": BOX, "Long": LONG}},
            {"$ref": "#/$defs/Box", "$defs": {"Box": BOX}},
        ),
        ({"items": {"$ref": "#"}, "$defs": {"A": LONG}}, {"items": {"$ref": "#"}}),
    ],
    ids=["none used", "one used", "two keywords", "recursive", "the whole is used"],
)
def test_definitions_that_nothing_uses_are_left_out(schema: Any, expected: Any) -> None:
    assert expected == within_limits(schema)


def test_definitions_that_are_used_once_are_put_into_their_place() -> None:
    names = [f"d{at}" for at in range(MAX_REFERENCES)]
    part = {"type": "object", "properties": {"twin": {"$ref": "#/$defs/both"}}}
    properties = {name: {"$ref": f"#/$defs/{name}", "description": name} for name in names}
    kept: dict[str, Any] = {"both": TEXT, "Box": BOX, "Even": EVEN, "Odd": ODD, "d2": True}
    definitions = {**kept, "d0": part, "d1": part}
    schema = {
        "properties": {
            **properties,
            "box": {"$ref": "#/$defs/Box"},
            "even": {"$ref": "#/$defs/Even"},
        },
        "$defs": {**dict.fromkeys(names, TEXT), **definitions},
    }

    smaller = within_limits(schema)

    assert {**TEXT, "description": "d5"} == smaller["properties"]["d5"]
    assert kept == smaller["$defs"]
    for value in ({"d0": {"twin": "x"}}, {"d0": {"twin": 1}}, {"d5": 1}, {"box": {"in": {}}}):
        assert fits(value, schema) == fits(value, smaller)


BESIDE = {
    "a type": ({"title": "T"}, {"type": "string"}),
    "a closed object": (BOX, {"additionalProperties": False}),
    "a union": (TEXT, {"anyOf": [TEXT]}),
}


@pytest.mark.parametrize(("definition", "beside"), BESIDE.values(), ids=list(BESIDE))
def test_a_definition_that_could_mean_something_else_beside_others_stays(
    definition: Any, beside: Any
) -> None:
    definitions = {f"d{at}": definition for at in range(MAX_REFERENCES + 1)}
    properties = {name: {"$ref": f"#/$defs/{name}", **beside} for name in definitions}

    with pytest.raises(MlxcelError, match="references"):
        within_limits({"properties": properties, "$defs": definitions})


@pytest.mark.parametrize("length", [100, 300, 1000])
def test_a_long_chain_of_definitions_is_refused(length: int) -> None:
    chain = {f"d{at}": {"items": {"$ref": f"#/$defs/d{at + 1}"}} for at in range(length)}

    with pytest.raises(MlxcelError, match=f"The schema has {length + 1} references"):
        within_limits({"$ref": "#/$defs/d0", "$defs": {**chain, f"d{length}": TEXT}})


def fits(value: Any, schema: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    "given",
    [None, {"type": "json_object"}, as_format(TEXT), "x", as_format({"const": {1}})],
    ids=["none", "any object", "a small schema", "a text", "what JSON cannot hold"],
)
def test_other_formats_have_no_limits(given: Any) -> None:
    assert not exceeds_limits(given)
