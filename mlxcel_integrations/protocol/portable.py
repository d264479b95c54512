"""JSON schemas as every engine can constrain them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .json_schema import JsonSchema, target

__all__ = ["is_object", "portable", "wrapped"]

KEYWORDS = {
    *("$ref", "$defs", "definitions", "title", "description", "default", "examples"),
    *("type", "enum", "const", "anyOf", "oneOf", "allOf"),
    *("properties", "required", "additionalProperties", "patternProperties"),
    *("items", "prefixItems", "minItems", "maxItems"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
FORMATS = {
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
}
LOOKAROUND = re.compile(r"\(\?<?[=!]")
DEFINITIONS = ("$defs", "definitions")
# Where schemas stand within schemas.
SINGLE = ("items", "additionalProperties")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
MAPS = ("properties", "patternProperties", *DEFINITIONS)


def portable(schema: Any) -> Any:
    """Return a schema that was made from a type without what only some engines know.

    What is left out is still checked when the answer is read by the type. Objects are closed:
    Pydantic would drop what it does not know, so that it need not be generated.
    """
    if not isinstance(schema, dict):
        return schema
    result = {name: value for name, value in schema.items() if name in KEYWORDS}
    if "oneOf" in result:
        result["anyOf"] = result.pop("oneOf")
    if isinstance(result.get("items"), list):  # a tuple, as Pydantic 1 writes it
        result["prefixItems"] = result.pop("items")
    if result.get("format") not in FORMATS:
        result.pop("format", None)
    if LOOKAROUND.search(result.get("pattern", "")):
        del result["pattern"]
    if "properties" in result:
        result.setdefault("additionalProperties", False)
    return _mapped(result, portable)


def is_object(schema: JsonSchema) -> bool:
    """Tell whether all values of a schema are objects, as far as its top says."""
    seen = set()
    part: Any = schema
    while isinstance(part, dict) and "$ref" in part and part["$ref"] not in seen:
        seen.add(part["$ref"])
        part = target(schema, part["$ref"])
    return isinstance(part, dict) and part.get("type") == "object"


def wrapped(schema: JsonSchema) -> JsonSchema:
    """Return the schema of an object whose only property ``value`` has the given one."""
    moved = _moved({name: value for name, value in schema.items() if name not in DEFINITIONS})
    definitions = {
        name: {key: _moved(part) for key, part in schema[name].items()}
        for name in DEFINITIONS
        if name in schema
    }
    return {
        "type": "object",
        "properties": {"value": moved},
        "required": ["value"],
        "additionalProperties": False,
        **definitions,
    }


def _moved(schema: Any) -> Any:
    """Let references to the top, and to what is not moved along with it, follow the move."""
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref", "")
    if reference.startswith("#") and not reference.startswith(("#/$defs/", "#/definitions/")):
        schema = {**schema, "$ref": "#/properties/value" + reference[1:]}
    return _mapped(schema, _moved)


def _mapped(schema: JsonSchema, change: Callable[[Any], Any]) -> JsonSchema:
    """Return a schema with those right inside of it changed."""
    result = dict(schema)
    for name in result.keys() & {*SINGLE}:
        result[name] = change(result[name])
    for name in result.keys() & {*LISTS}:
        result[name] = [change(part) for part in result[name]]
    for name in result.keys() & {*MAPS}:
        result[name] = {key: change(part) for key, part in result[name].items()}
    return result
