"""A schema is prepared for a server once, whatever it needs, and formats without one stay."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.schemas import sent_schema
from mlxcel_integrations.protocol.schemas.bounds import bounded
from mlxcel_integrations.protocol.schemas.json_schema import JsonSchema
from mlxcel_integrations.protocol.schemas.sent_schema import format_to_send
from mlxcel_integrations.protocol.schemas.size_limits import MAX_BYTES

TEXT = {"type": "string"}
ODD_NAME = {"items": {"$ref": "#/$defs/A b"}, "$defs": {"A b": TEXT}}
UNUSED = {**TEXT, "$defs": {"A": {"description": "x" * MAX_BYTES}}}


def with_schema(schema: Any) -> dict[str, Any]:
    inner = {"name": "f", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": inner}


@pytest.mark.parametrize(
    ("schema", "changes", "expected"),
    [
        (TEXT, {}, TEXT),
        ({"type": "array", "items": TEXT}, {}, {"type": "array", "items": TEXT}),
        (ODD_NAME, {}, {"items": {"$ref": "#/$defs/A_b"}, "$defs": {"A_b": TEXT}}),
        (UNUSED, {}, UNUSED),
        (UNUSED, {"limited": True}, TEXT),
        (TEXT, {"room": 400, "bounding": bounded}, {**TEXT, "maxLength": 2000}),
        (TEXT, {"room": None, "bounding": bounded}, TEXT),
    ],
)
def test_a_schema_is_sent_as_the_server_takes_it(
    schema: JsonSchema, changes: dict[str, Any], expected: JsonSchema
) -> None:
    given = with_schema(schema)

    arguments: Any = {"room": None, "bounding": None, "limited": False, **changes}
    sent = format_to_send(given, **arguments)

    assert with_schema(expected) == sent
    assert with_schema(schema) == given
    assert (sent is given) == (schema == expected)


@pytest.mark.parametrize(
    "given",
    [
        None,
        "x",
        {},
        {"type": "text"},
        {"type": "json_object"},
        {"json_schema": None},
        {"json_schema": []},
        {"json_schema": {}},
        {"json_schema": {"schema": True}},
        with_schema({"const": {1, 2}}),
    ],
    ids=str,
)
def test_what_has_no_schema_in_json_stays_the_same_object(given: Any) -> None:
    assert given is format_to_send(given, 400, bounded, limited=True)


def test_a_schema_is_prepared_once_for_the_same_room() -> None:
    made = []

    def bounding(schema: JsonSchema, room: int | None) -> JsonSchema:
        made.append(room)
        return {**schema, "maxLength": 9}

    for room in (10, 10, 20, 10):
        sent = format_to_send(with_schema(dict(TEXT)), room, bounding, limited=True)
        assert {**TEXT, "maxLength": 9} == sent["json_schema"]["schema"]

    assert [10, 20] == made


def test_a_schema_that_was_changed_since_is_prepared_anew() -> None:
    schema = dict(TEXT)
    before = format_to_send(with_schema(schema), 400, bounded, limited=True)

    schema["description"] = "A name."
    after = format_to_send(with_schema(schema), 400, bounded, limited=True)

    assert "description" not in before["json_schema"]["schema"]
    assert "A name." == after["json_schema"]["schema"]["description"]


@pytest.fixture(autouse=True)
def forget() -> None:
    sent_schema._schema_to_send.cache_clear()


@pytest.mark.parametrize("length", [100, MAX_BYTES - 200])
@pytest.mark.parametrize("limited", [True, False])
def test_a_schema_refers_to_itself_by_a_definition_if_there_is_room(
    length: int, limited: bool
) -> None:
    schema = {"type": "array", "items": {"$ref": "#"}, "description": "x" * length}
    sent = format_to_send(with_schema(schema), None, None, limited=limited)

    reference = "#" if limited and length > MAX_BYTES / 2 else "#/$defs/root"
    assert {"$ref": reference} == sent["json_schema"]["schema"]["items"]
