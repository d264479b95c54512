"""JSON schemas as servers take them: sizes, keywords, places.

Errors name the place of what is wrong as a JSON pointer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from ...errors import MlxcelError

__all__ = [
    "ANNOTATIONS",
    "MAX_SCHEMA_BYTES",
    "MAX_SCHEMA_DEPTH",
    "UNUSUAL_SCHEMA_ERRORS",
    "JsonSchema",
    "check_schema_size",
    "compact",
    "containers",
    "largest_part",
    "mapped",
    "mapped_keeping_openness",
    "normalized",
    "pointer",
    "rebased",
    "schema_in",
    "with_schema_in",
    "wrapped",
]

MAX_SCHEMA_BYTES = 256 * 1024
"""Bytes of a schema: no plausible description of one answer has more."""

MAX_SCHEMA_DEPTH = 64
"""Levels of a schema: more exceed the recursion that Python allows."""

KNOWN_KEYWORDS = {
    *("$ref", "$defs", "definitions", "title", "description", "default", "examples"),
    *("type", "enum", "const", "anyOf", "oneOf", "allOf"),
    *("properties", "required", "additionalProperties", "patternProperties"),
    *("items", "prefixItems", "minItems", "maxItems"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""Keywords that every engine knows."""

KNOWN_FORMATS = {
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
}
"""Formats that every engine knows."""

LOOKAROUND = re.compile(r"\(\?<?[=!]")
ESCAPE_OR_CLASS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL)


DEFINITIONS = ("$defs", "definitions")

ANNOTATIONS = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
    *("$comment", "$schema", "$id", "id", *DEFINITIONS),
}
"""Keywords that allow and forbid nothing."""

SCHEMAS_BY_NAME = {"properties", "patternProperties", "dependentSchemas", *DEFINITIONS}
"""Keywords that hold schemas by their names."""

NESTED_SCHEMAS = {
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("anyOf", "oneOf", "allOf", "not", "if", "then", "else"),
}
"""Keywords that hold a schema, or a list of schemas."""

UNUSUAL_SCHEMA_ERRORS = (AttributeError, TypeError, ValueError, OverflowError, RecursionError)
"""Errors from a schema of an unusual form; such a schema is left to the server."""

JsonSchema = dict[str, Any]
Path = tuple[str | int, ...]


def compact(value: object) -> str:
    """Return JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def pointer(path: Iterable[object]) -> str:
    """Return the JSON pointer of a place, ``/`` for the top."""
    return "/" + "/".join(str(key).replace("~", "~0").replace("/", "~1") for key in path)


# --------------------------------------------------------------------------- limits


def check_schema_size(schema: Mapping[str, Any]) -> None:
    """Check that a schema is not too deep and not too long.

    Raises:
        MlxcelError: It is.
    """
    for path, _ in containers(schema):
        if len(path) >= MAX_SCHEMA_DEPTH:
            raise MlxcelError(
                f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels, at {pointer(path)}: "
                "move inner objects to $defs and refer to them."
            )
    size = len(compact(schema).encode())
    if size > MAX_SCHEMA_BYTES:
        raise MlxcelError(
            f"The schema has {size} bytes, but at most {MAX_SCHEMA_BYTES} are possible. The "
            f"largest part is {largest_part(schema)}: shorten it, or ask in several steps."
        )


def containers(schema: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Yield all objects and lists with their paths, the outer ones first."""
    waiting: list[tuple[Path, Any]] = [((), schema)]
    for path, part in waiting:
        yield path, part
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(value, dict | list):
                waiting.append(((*path, key), value))


def largest_part(schema: Mapping[str, Any]) -> str:
    """Return the place of the largest part at the second level."""
    parts = [(len(compact(part)), path) for path, part in containers(schema) if len(path) == 2]
    return pointer(max(parts, key=itemgetter(0), default=(0, ()))[1])


# --------------------------------------------------------------------------- changes


def normalized(schema: Any) -> Any:
    """Return a schema made from a type, without keywords that only some engines know.

    What is left out is still checked when the answer is read by the type. Objects are closed:
    Pydantic would drop unknown properties, so there is no need to generate any.
    """
    if not isinstance(schema, dict):
        return schema
    result = {
        name: value
        for name, value in schema.items()
        if name in KNOWN_KEYWORDS and (name in SCHEMAS_BY_NAME | NESTED_SCHEMAS or _is_json(value))
    }
    if "oneOf" in result:
        result["anyOf"] = result.pop("oneOf")
    if isinstance(result.get("items"), list):  # a tuple, as Pydantic 1 writes it
        result["prefixItems"] = result.pop("items")
    if result.get("format") not in KNOWN_FORMATS:
        result.pop("format", None)
    if LOOKAROUND.search(result.get("pattern", "")):
        del result["pattern"]
    elif "pattern" in result:
        result["pattern"] = ESCAPE_OR_CLASS.sub(_with_digits, result["pattern"])
    if "properties" in result:
        result.setdefault("additionalProperties", False)
    return mapped(result, normalized)


def _with_digits(found: re.Match[str]) -> str:
    r"""Return an escape or a class of a pattern with ``\d`` written as the digits.

    llama.cpp does not enforce patterns with ``\d``. Where a class excludes characters, it generates
    the quote that ends a text as well, so such a class stays as it is.
    """
    part = found[0]
    if part == r"\d":
        return "[0-9]"
    if not part.startswith("[") or part.startswith("[^"):
        return part
    return re.sub(r"\\(?:d(?!-[^\]])|[^d])", lambda one: "0-9" if one[0] == r"\d" else one[0], part)


def _is_json(value: Any) -> bool:
    """Return whether a value can be written as JSON, which infinite defaults and bounds cannot."""
    try:
        compact(value)
    except UNUSUAL_SCHEMA_ERRORS:
        return False
    return True


def wrapped(schema: JsonSchema) -> JsonSchema:
    """Return the schema of an object whose only property ``value`` has the given schema."""
    # Definitions stay at the top, and so do references to them.
    staying = tuple(f"#/{name}/" for name in DEFINITIONS)
    value = rebased(schema, "#/properties/value", staying)
    definitions = {name: value.pop(name) for name in DEFINITIONS if name in value}
    return {
        "type": "object",
        "properties": {"value": value},
        "required": ["value"],
        "additionalProperties": False,
        **definitions,
    }


def rebased(schema: Any, place: str, staying: tuple[str, ...] = ()) -> Any:
    """Return a schema whose references hold after it has moved to another place.

    Args:
        schema: The schema.
        place: The new place, such as ``#/$defs/answer``.
        staying: Beginnings of references that stay as they are.
    """
    if not isinstance(schema, dict):
        return schema
    moved = mapped(schema, lambda part: rebased(part, place, staying))
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = reference if reference.startswith(staying) else place + reference[1:]
    return moved


def mapped(schema: JsonSchema, change: Callable[[Any], Any]) -> JsonSchema:
    """Return a schema with the schemas directly inside of it changed."""
    result = dict(schema)
    for keyword, part in schema.items():
        if keyword in SCHEMAS_BY_NAME and isinstance(part, dict):
            result[keyword] = {name: change(inner) for name, inner in part.items()}
        elif keyword in NESTED_SCHEMAS:
            result[keyword] = [change(i) for i in part] if isinstance(part, list) else change(part)
    return result


def mapped_keeping_openness(schema: JsonSchema, change: Callable[[Any], Any]) -> JsonSchema:
    """Return a schema as ``mapped`` does, but keep ``additionalProperties`` if it is a boolean.

    Every engine knows it in this form, unlike other boolean schemas.
    """
    more = schema.get("additionalProperties")
    if not isinstance(more, bool):
        return mapped(schema, change)
    rest = {name: part for name, part in schema.items() if name != "additionalProperties"}
    result = mapped(rest, change)
    return {name: result.get(name, more) for name in schema}


# --------------------------------------------------------------------------- response formats


def schema_in(response_format: Any) -> JsonSchema | None:
    """Return the schema of a ``response_format``, None if it has none."""
    inner = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    return schema if isinstance(schema, dict) else None


def with_schema_in(response_format: Any, schema: JsonSchema) -> Any:
    """Return a ``response_format`` with another schema; the same object if it has this one."""
    inner = response_format["json_schema"]
    if inner["schema"] is schema:
        return response_format
    return {**response_format, "json_schema": {**inner, "schema": schema}}
