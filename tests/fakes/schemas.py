"""JSON schemas: which of them 0.4.2 compiles, and the smallest values that they accept."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
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


def compile_error(schema: Any) -> str | None:
    """Why the older server makes no grammar of a schema; None if it does."""
    try:
        compile_part(schema, schema, set())
    except ValueError as error:
        return str(error)
    return None


def compile_part(schema: Any, root: Any, seen: set[str]) -> None:
    """Raises ValueError for what has no grammar."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError("schema must be an object or boolean")
    if unknown := [name for name in schema if name in UNKNOWN]:
        raise ValueError(f"Unimplemented keys: {json.dumps(unknown)}")
    if (reference := schema.get("$ref")) is not None:
        check_reference(reference, root)
        if reference not in seen:
            compile_part(referenced(reference, root), root, seen | {reference})
        return
    check_values(schema)
    for part in parts(schema):
        compile_part(part, root, seen)


def check_reference(reference: str, root: Any) -> None:
    """Raises ValueError for what is no URI, or leads nowhere."""
    if wrong := re.search(r"[^A-Za-z0-9._~!$&'()*+,;=:@%/?-]", reference.removeprefix("#")):
        at = wrong.start() + reference.startswith("#")
        unexpected = f"unexpected character at index {at}"
        raise ValueError(f"Invalid URI reference '{reference}': {unexpected}")
    if not reference.startswith("#"):
        failed = "retrieving it failed: Default retriever does not fetch resources"
        raise ValueError(f"Resource '{reference}' is not present in a registry and {failed}")
    try:
        referenced(reference, root)
    except (LookupError, TypeError):
        raise ValueError(f"Pointer '{unquote(reference[1:])}' does not exist") from None


def check_values(schema: Json) -> None:
    """Raises ValueError for keywords that are known, but not with these values."""
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in TYPES:
            raise ValueError(f"Invalid type: {kind}")
    if schema.get("format", "date") not in FORMATS:
        raise ValueError(f"Unknown format: {schema['format']}")
    if schema.get("enum") == [] or schema.get("anyOf") == []:
        raise ValueError("Unsatisfiable schema: anyOf is empty")
    if "(?" in schema.get("pattern", ""):
        raise ValueError("regex parse error:")
    if schema.get("maxItems", 0) >= 100_000:
        limit = "(limit for this grammar: 100000)"
        raise ValueError(f"grammar size (number of symbols) too big {limit}")
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if least > most:
        bounds = f"minimum ({least}) is greater than maximum ({most})"
        raise ValueError(f"Unsatisfiable schema: {bounds}")
    if schema.get("additionalProperties") is False:
        for name in schema.get("required", ()):
            if name not in schema.get("properties", {}):
                missing = f"required property '{name}' is unsatisfiable"
                raise ValueError(f"Unsatisfiable schema: {missing}")
    if overlapping(schema.get("oneOf", [])):
        advice = "Enable 'coerce_one_of' option to approximate oneOf with anyOf"
        raise ValueError(f"oneOf constraints are not supported. {advice}")


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
        return min(max(least, 1), schema.get("maximum", math.inf))
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
