"""JSON schemas: which of them 0.4.2 compiles, and the smallest values that they accept."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
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
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


UNKNOWN = {
    "not", "uniqueItems", "contains", "minContains", "maxContains", "propertyNames", "if", "then",
    "else", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
}  # fmt: skip
"""Keywords that the grammar does not know, whatever their value."""
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
REFERENCE = re.compile(r"#[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")


def compiles(schema: Any) -> bool:
    """Whether the older server makes a grammar of a schema."""
    try:
        compile_part(schema, schema, set())
    except (ValueError, LookupError, TypeError):
        return False
    return True


def compile_part(schema: Any, root: Any, seen: set[str]) -> None:
    """Raises ValueError or LookupError for what has no grammar."""
    if isinstance(schema, bool):
        return
    require(isinstance(schema, dict) and not schema.keys() & UNKNOWN)
    if (reference := schema.get("$ref")) is not None:
        require(REFERENCE.fullmatch(reference) is not None)
        if reference not in seen:
            compile_part(referenced(reference, root), root, seen | {reference})
        return
    kinds = schema.get("type", [])
    require({kinds} if isinstance(kinds, str) else set(kinds), within=TYPES)
    require(schema.get("enum", [None]) != [] and schema.get("anyOf", [None]) != [])
    require({schema.get("format", "date")}, within=FORMATS.keys())
    require("(?" not in schema.get("pattern", "") and schema.get("maxItems", 0) < 100_000)
    require(schema.get("minimum", -math.inf) <= schema.get("maximum", math.inf))
    if schema.get("additionalProperties") is False:
        require(set(schema.get("required", ())), within=schema.get("properties", {}).keys())
    if "oneOf" in schema:
        require(not overlapping(schema["oneOf"]))
    for part in parts(schema):
        compile_part(part, root, seen)


def require(fact: Any, within: Collection[str] | None = None) -> None:
    if not (fact if within is None else fact <= set(within)):
        raise ValueError


def overlapping(schemas: list[Any]) -> bool:
    """Whether one of two kinds of numbers is an alternative to the other."""
    kinds = [schema.get("type") for schema in schemas if isinstance(schema, dict)]
    return "number" in kinds and (kinds.count("number") > 1 or "integer" in kinds)


def parts(schema: Json) -> Iterator[Any]:
    """The schemas that a schema is made of, but for those that it only defines."""
    for name in ("properties", "patternProperties"):
        yield from schema.get(name, {}).values()
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from schema.get(name, ())
    yield from (schema[name] for name in ("items", "additionalProperties") if name in schema)


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
