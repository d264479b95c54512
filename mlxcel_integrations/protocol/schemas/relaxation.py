"""Relaxation of schemas that a server cannot compile: what it does not know is left out.

The answer is still checked by the whole schema. A refusal is remembered, so that only the first
request pays for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..failures import Failure
from ..sampling import has_schema
from ..validation import error_text
from .json_schema import (
    DEFINITIONS,
    KNOWN_FORMATS,
    JsonSchema,
    mapped_keeping_openness,
    with_schema_in,
)

__all__ = ["RefusedSchemas", "relaxed"]

DROPPED = {
    *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems"),
    *("propertyNames", "minProperties", "maxProperties", "dependencies", "dependentRequired"),
    *("dependentSchemas", "unevaluatedItems", "unevaluatedProperties", "multipleOf"),
    *("$id", "id", "$schema", "$anchor", "$vocabulary", "extends", "disallow", "divisibleBy"),
}
"""Keywords that some engine does not know."""

STRUCTURE = {
    *("$ref", "$defs", "definitions", "title", "description", "type", "enum", "const", "anyOf"),
    *("properties", "required", "additionalProperties", "items", "prefixItems"),
}
"""Keywords that every engine knows; of a boolean schema, only ``additionalProperties``."""

ODD_PATTERN = re.compile(r"\(\?(?!:)|\\(?:[1-9bBAZzGkKpP]|c[A-Z])")
"""Look-around, references to groups and the like, which only some engines know."""

ABOUT_SCHEMA = re.compile(
    r"schema|grammar|regex|pattern|response_format|m(in|ax)_value", re.IGNORECASE
)

FAILED_GENERATION = "empty mask"
"""What mlxcel up to v0.4.2 says when an answer that is not streamed, as gateways may request it,
fails after its JSON: the schema is not the reason."""

SCHEMA_REFUSED_STATUSES = (400, 422, 500)
"""Statuses of a schema that cannot be compiled; llama.cpp has used 500, too."""

LEVELS = 2
"""First the keywords that engines do not know are left out, then all but the structure."""


class RefusedSchemas:
    """What one server could not compile.

    Keywords that it does not know are remembered for all schemas that have them. If leaving these
    out is not enough, it does not know some value, such as a long pattern: that is remembered for
    the one schema, so that others with a pattern keep theirs.
    """

    def __init__(self) -> None:
        self._keywords: list[frozenset[str]] = []
        self._schemas: set[int] = set()

    def adapted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a request body with its schema relaxed as earlier refusals require."""
        if not (self._keywords or self._schemas) or not has_schema(body):
            return body
        level = self._known_level(_schema_of_body(body))
        return _with_schema(body, relaxed(_schema_of_body(body), level)) if level else body

    def learn(self, body: dict[str, Any], failure: Failure) -> dict[str, Any] | None:
        """Return a request body to send after a refusal, None if the schema is not the reason.

        Args:
            body: The body as it was before ``adapted``.
            failure: The server's answer to what was sent.
        """
        if failure.status not in SCHEMA_REFUSED_STATUSES or not has_schema(body):
            return None
        message = error_text(failure.body)
        if not ABOUT_SCHEMA.search(message) or FAILED_GENERATION in message:
            return None
        schema = _schema_of_body(body)
        tried = self._known_level(schema)
        before = relaxed(schema, tried)
        for level in range(tried + 1, LEVELS + 1):
            changed = relaxed(schema, level)
            if changed != before:
                self._remember(schema, level)
                return _with_schema(body, changed)
        return None

    def _remember(self, schema: Any, level: int) -> None:
        if level == LEVELS:
            self._schemas.add(_hash(schema))
        else:
            self._keywords.append(keywords_of(schema))

    def _known_level(self, schema: Any) -> int:
        """Return the level that a schema needs, as far as refusals have shown."""
        if self._schemas and _hash(schema) in self._schemas:
            return LEVELS
        keywords = keywords_of(schema) if self._keywords else frozenset[str]()
        return int(any(refused <= keywords for refused in self._keywords))


def _hash(schema: Any) -> int:
    return hash(repr(schema))


def relaxed(schema: Any, level: int) -> Any:
    """Return a schema that allows at least as much, and that more engines can compile.

    Args:
        schema: The schema.
        level: 0 to change nothing; 1 to leave out what some engine does not know; 2 to leave out
            all but the structure.
    """
    if level == 0 or not isinstance(schema, dict | bool):
        return schema
    if isinstance(schema, bool):
        return {}
    kept = {"$ref", *DEFINITIONS} if "$ref" in schema else schema.keys() - DROPPED
    result = {
        name: value
        for name, value in schema.items()
        if name in kept and (level == 1 or name in STRUCTURE or name == "oneOf")
    }
    _make_modern(result)
    if "oneOf" in result:
        choices = result.pop("oneOf")
        result.setdefault("anyOf", choices)
    wanted = result.get("format")
    if not isinstance(wanted, str) or wanted not in KNOWN_FORMATS:
        result.pop("format", None)
    if isinstance(pattern := result.get("pattern"), str) and ODD_PATTERN.search(pattern):
        del result["pattern"]
    patterns = result.get("patternProperties")
    if isinstance(patterns, dict) and any(map(ODD_PATTERN.search, patterns)):
        del result["patternProperties"]
        _allow_other_properties(result)
    if level > 1 and "patternProperties" in schema:
        _allow_other_properties(result)
    return mapped_keeping_openness(result, lambda part: relaxed(part, level))


def _make_modern(part: JsonSchema) -> None:
    """Write keywords of older dialects as the newest one does."""
    for name, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if part.get(name) is True and inclusive in part:
            part[name] = part.pop(inclusive)
        elif isinstance(part.get(name), bool):
            del part[name]
    if isinstance(part.get("items"), list):
        part["prefixItems"] = part.pop("items")
        if "additionalItems" in part:
            part["items"] = part.pop("additionalItems")
    if part.get("items") is False and isinstance(first := part.get("prefixItems"), list):
        del part["items"]
        most = part.get("maxItems")
        part["maxItems"] = min(len(first), most) if isinstance(most, int) else len(first)
    if isinstance(part.get("required"), bool):
        del part["required"]


def _allow_other_properties(part: JsonSchema) -> None:
    """Allow any other properties, since some are no longer described."""
    part.pop("additionalProperties", None)


def keywords_of(schema: Any) -> frozenset[str]:
    """Return the keywords and formats of a schema that some engine may not know."""
    return frozenset(_keywords(schema))


def _keywords(schema: Any) -> Iterator[str]:
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, bool):
            yield "boolean"
        if not isinstance(part, Mapping):
            continue
        for name, value in part.items():
            if name == "format":
                yield f"format {value}"
            elif name in ("pattern", "patternProperties"):
                yield from _odd_patterns(value if isinstance(value, Mapping) else [value])
            elif name not in STRUCTURE:
                yield name
        mapped_keeping_openness(dict(part), waiting.append)


def _odd_patterns(patterns: Any) -> Iterator[str]:
    for pattern in patterns:
        yield "pattern"
        if isinstance(pattern, str) and ODD_PATTERN.search(pattern):
            yield f"pattern {pattern}"


def _schema_of_body(body: Mapping[str, Any]) -> Any:
    inner = body["response_format"].get("json_schema")
    return inner.get("schema") if isinstance(inner, Mapping) else None


def _with_schema(body: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    return {**body, "response_format": with_schema_in(body["response_format"], schema)}
