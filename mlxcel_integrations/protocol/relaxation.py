"""Relaxation of schemas that a server cannot compile: what it does not know is left out.

The answer is still checked by the whole schema. A refusal is remembered, so that only the first
request pays for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .failures import Failure
from .json_schema import DEFINITIONS, FORMATS, JsonSchema, mapped, with_schema_in
from .stream import has_schema
from .validation import error_text

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
"""Keywords that every engine knows, whatever their values."""

ODD_PATTERN = re.compile(r"\(\?(?!:)|\\(?:[1-9bBAZzGkKpP]|c[A-Z])")
"""Look-around, references to groups and the like, which only some engines know."""

ABOUT_SCHEMA = re.compile(r"schema|grammar|regex|pattern|response_format", re.IGNORECASE)

REFUSED = (400, 422, 500)
"""Statuses of a schema that cannot be compiled; llama.cpp has used 500, too."""

LEVELS = 2
"""First the keywords that engines do not know are left out, then all but the structure."""


class RefusedSchemas:
    """What one server could not compile, by the keywords of the schemas that it refused."""

    def __init__(self) -> None:
        self._refused: list[tuple[frozenset[str], int]] = []

    def adapted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a request body with its schema relaxed as earlier refusals require."""
        if not self._refused or not has_schema(body):
            return body
        level = self._known_level(keywords_of(_schema(body)))
        return _with_schema(body, relaxed(_schema(body), level)) if level else body

    def learn(self, body: dict[str, Any], failure: Failure) -> dict[str, Any] | None:
        """Return a request body to send after a refusal, None if the schema is not the reason.

        Args:
            body: The body as it was before ``adapted``.
            failure: The server's answer to what was sent.
        """
        if failure.status not in REFUSED or not has_schema(body):
            return None
        if not ABOUT_SCHEMA.search(error_text(failure.body)):
            return None
        schema = _schema(body)
        keywords = keywords_of(schema)
        tried = self._known_level(keywords)
        before = relaxed(schema, tried)
        for level in range(tried + 1, LEVELS + 1):
            changed = relaxed(schema, level)
            if changed != before:
                self._refused.append((keywords, level))
                return _with_schema(body, changed)
        return None

    def _known_level(self, keywords: frozenset[str]) -> int:
        """Return the level that a schema with these keywords needs, as far as refusals tell."""
        return max((level for refused, level in self._refused if refused <= keywords), default=0)


def relaxed(schema: Any, level: int) -> Any:
    """Return a schema that allows at least as much, and that more engines can compile.

    Args:
        schema: The schema.
        level: 0 to change nothing; 1 to leave out what some engine does not know; 2 to leave out
            all but the structure.
    """
    if level == 0 or not isinstance(schema, dict):
        return schema
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
    if not isinstance(wanted, str) or wanted not in FORMATS:
        result.pop("format", None)
    if isinstance(pattern := result.get("pattern"), str) and ODD_PATTERN.search(pattern):
        del result["pattern"]
    patterns = result.get("patternProperties")
    if isinstance(patterns, dict) and any(map(ODD_PATTERN.search, patterns)):
        del result["patternProperties"]
        _open(result)
    if level > 1 and "patternProperties" in schema:
        _open(result)
    return mapped(result, lambda part: relaxed(part, level))


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
    if isinstance(part.get("required"), bool):
        del part["required"]


def _open(part: JsonSchema) -> None:
    """Allow any other properties, since some are no longer described."""
    part.pop("additionalProperties", None)


def keywords_of(schema: Any) -> frozenset[str]:
    """Return the keywords and formats of a schema that some engine may not know."""
    return frozenset(_keywords(schema))


def _keywords(schema: Any) -> Iterator[str]:
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        for name, value in part.items():
            if name == "format":
                yield f"format {value}"
            elif name in ("pattern", "patternProperties"):
                yield from _odd_patterns(value if isinstance(value, Mapping) else [value])
            elif name not in STRUCTURE:
                yield name
        mapped(dict(part), waiting.append)


def _odd_patterns(patterns: Any) -> Iterator[str]:
    for pattern in patterns:
        yield "pattern"
        if isinstance(pattern, str) and ODD_PATTERN.search(pattern):
            yield f"pattern {pattern}"


def _schema(body: Mapping[str, Any]) -> Any:
    inner = body["response_format"].get("json_schema")
    return inner.get("schema") if isinstance(inner, Mapping) else None


def _with_schema(body: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    return {**body, "response_format": with_schema_in(body["response_format"], schema)}
