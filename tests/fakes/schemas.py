"""JSON schemas: which the server compiles, and the smallest values that they accept."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import unquote

from tests.fakes.answers import Json


def requested_schema(body: Json) -> Json | None:
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema: Json = wanted["json_schema"]["schema"]
    return schema


FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "x@example.org",
    "uri": "http://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any, root: Json, depth: int = 0) -> Any:
    """Build a small value that a JSON schema accepts; deep down, the smallest one."""
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        return instance(referenced(schema["$ref"], root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            last = depth > 4 and schema[union][-1].get("type") == "null"
            return instance(schema[union][-1 if last else 0], root, depth + 1)
    return of_type(schema, root, depth)


def of_type(schema: Json, root: Json, depth: int) -> Any:
    wanted = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(wanted, list):
        wanted = wanted[0]
    if wanted == "object":
        names = schema.get("properties", {})
        if depth > 4:
            names = {name: names[name] for name in schema.get("required", ())}
        return {name: instance(part, root, depth + 1) for name, part in names.items()}
    if wanted == "array":
        if "prefixItems" in schema:
            return [instance(part, root, depth + 1) for part in schema["prefixItems"]]
        count = schema.get("minItems", 0 if depth > 4 or schema.get("maxItems") == 0 else 1)
        return [instance(schema.get("items", {}), root, depth + 1)] * count
    if wanted == "string":
        length = min(max(1, schema.get("minLength", 1)), schema.get("maxLength", math.inf))
        return FORMATS.get(schema.get("format", ""), "x" * int(length))
    if wanted in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        return min(least, schema.get("maximum", math.inf))
    return {"boolean": True, "null": None}.get(wanted or "", {})


def goes_on(schema: Any, root: Any) -> bool:
    """Whether the grammar of a schema allows more after a whole value."""
    if not isinstance(schema, dict):
        return True
    if "$ref" in schema:
        return goes_on(referenced(schema["$ref"], root), root)
    if "const" in schema or "enum" in schema:
        return False
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return any(goes_on(part, root) for part in schema[union])
    kinds = schema.get("type", "object" if "properties" in schema else "number")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    opened = "object" in kinds and schema.get("additionalProperties") is not False
    return opened or "integer" in kinds or "number" in kinds


def referenced(reference: str, root: Any) -> Any:
    """What a `$ref` inside of the schema means."""
    target = root
    for key in unquote(reference).split("/")[1:]:
        target = target[key.replace("~1", "/").replace("~0", "~")]
    return target
