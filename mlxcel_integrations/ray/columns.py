"""Answers as columns of a table: Arrow types from a JSON schema, and the values for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic_core import to_jsonable_python

from ..protocol.schemas.references import target
from ..protocol.validation import JsonMapping
from ..structured.schema import Schema

__all__ = ["column_types", "column_values"]


_SIMPLE_TYPES = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}
_JSON_TEXT = pa.string()
"""Values without a single type, such as unions or objects with any keys, are JSON texts."""


def column_types(schema: Schema[Any]) -> dict[str, pa.DataType]:
    """Return the name and the type of each column of the answers.

    An object has a column for each of its properties, any other answer one column ``value``.
    """
    top = _resolved(schema.json_schema, schema.json_schema)
    properties: Mapping[str, Any] = top.get("properties") or {}
    return {name: _arrow_type(part, schema.json_schema) for name, part in properties.items()}


def column_values(answer: Any, schema: Schema[Any], types: Mapping[str, pa.DataType]) -> list[Any]:
    """Return the value of an answer in each column.

    Args:
        answer: An object that the schema has validated.
        schema: The schema.
        types: The result of ``column_types``.

    Raises:
        pyarrow.ArrowException: A value is too large for its column.
    """
    plain = to_jsonable_python(answer, by_alias=True, fallback=_pydantic_1_value)
    if schema.wrapped:
        plain = {"value": plain}
    return [pa.scalar(_cell(plain.get(name), kind), kind).as_py() for name, kind in types.items()]


def _pydantic_1_value(value: Any) -> Any:
    return json.loads(value.json(by_alias=True))


def _arrow_type(part: Any, root: JsonMapping, outer: Sequence[str] = ()) -> pa.DataType:
    """Return the type of the values of a schema.

    Args:
        part: The schema.
        root: The schema in which its references are resolved.
        outer: References that were followed on the way here; a type cannot contain itself.
    """
    if not isinstance(part, dict):
        return _JSON_TEXT
    if "$ref" in part:
        name = part["$ref"]
        return (
            _JSON_TEXT if name in outer else _arrow_type(target(root, name), root, (*outer, name))
        )
    if "enum" in part or "const" in part:
        return _type_of_values(part.get("enum", [part.get("const")]))
    choices = part.get("anyOf") or part.get("oneOf")
    if choices is None and len(part.get("allOf", ())) == 1:
        choices = part["allOf"]
    if choices is not None:
        return _common_type(
            {_arrow_type(one, root, outer) for one in choices if one != {"type": "null"}}
        )
    kinds = [kind for kind in _as_list(part.get("type")) if kind != "null"]
    return _common_type({_type_of_kind(kind, part, root, outer) for kind in kinds})


def _type_of_kind(
    kind: str, part: JsonMapping, root: JsonMapping, outer: Sequence[str]
) -> pa.DataType:
    if kind == "array" and isinstance(part.get("items"), dict) and "prefixItems" not in part:
        return pa.list_(_arrow_type(part["items"], root, outer))
    if kind == "object" and part.get("properties") and not part.get("additionalProperties"):
        fields = part["properties"].items()
        return pa.struct([(name, _arrow_type(field, root, outer)) for name, field in fields])
    return _SIMPLE_TYPES.get(kind, _JSON_TEXT)


def _type_of_values(values: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in values if value is not None}
    by_kind = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return _common_type({by_kind.get(kind, _JSON_TEXT) for kind in kinds})


def _common_type(types: set[pa.DataType]) -> pa.DataType:
    if types == {pa.int64(), pa.float64()}:
        return pa.float64()
    return types.pop() if len(types) == 1 else _JSON_TEXT


def _resolved(part: JsonMapping, root: JsonMapping) -> JsonMapping:
    """Follow the references at the top of a schema."""
    while "$ref" in part:
        part = target(root, part["$ref"])
    return part


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _cell(value: Any, kind: pa.DataType) -> Any:
    """Return a JSON value as a column of a type takes it."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _cell(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_cell(item, kind.value_type) for item in value]
    if pa.types.is_floating(kind):
        return float(value)  # Pydantic writes a decimal as text
    if pa.types.is_string(kind) and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value
