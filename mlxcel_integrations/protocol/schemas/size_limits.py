"""Limits of mlxcel for schemas, and smaller forms of schemas that exceed them.

mlxcel refuses a schema beyond its limits with one general message; here the error names the place.
Other engines have no such limits.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter
from typing import Any

from ...errors import MlxcelError
from .json_schema import (
    ANNOTATIONS,
    DEFINITIONS,
    JsonSchema,
    compact,
    containers,
    largest_part,
    mapped,
    pointer,
    schema_in,
)
from .references import references, steps, target

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_REFERENCES",
    "exceeds_limits",
    "within_limits",
]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_REFERENCES = 64

CACHED_SCHEMAS = 32


def exceeds_limits(response_format: Any) -> bool:
    """Return whether the schema of a ``response_format`` is beyond the limits of mlxcel."""
    schema = schema_in(response_format)
    return schema is not None and _exceeded_limit(_compacted(schema)) is not None


def within_limits(schema: JsonSchema) -> JsonSchema:
    """Return a schema that mlxcel accepts: without definitions that nothing uses, if need be.

    Definitions that are used once are put into their place if that is not enough.

    Raises:
        MlxcelError: It is still beyond a limit.
    """
    text = _compacted(schema)
    return schema if _exceeded_limit(text) is None else _reduced(text)


def _reduced(text: str) -> JsonSchema:
    used = _without_unused(json.loads(text))
    if (problem := _exceeded_limit(_compacted(used))) is None:
        return used
    with contextlib.suppress(RecursionError):  # it would be too deep
        inlined = _inlined(used)
        if _exceeded_limit(_compacted(inlined)) is None:
            return inlined
    raise MlxcelError(problem)


def _compacted(schema: JsonSchema) -> str:
    try:
        return compact(schema)
    except (TypeError, ValueError, RecursionError):
        return ""  # refused when it is sent


# --------------------------------------------------------------------------- limits


def _exceeded_limit(text: str) -> str | None:
    """Return a message about the limit that a schema exceeds, None if it exceeds none."""
    # Most are so small that nothing needs to be parsed.
    if (
        len(text) <= MAX_BYTES // 4
        and text.count("{") + text.count("[") <= MAX_DEPTH
        and text.count('"$ref"') <= MAX_REFERENCES
    ):
        return None
    return _find_exceeded_limit(text)


@functools.lru_cache(CACHED_SCHEMAS)
def _find_exceeded_limit(text: str) -> str | None:
    schema = json.loads(text)
    for path, _ in containers(schema):
        if len(path) >= MAX_DEPTH:
            return (
                f"The schema is nested deeper than the {MAX_DEPTH} levels that mlxcel accepts, at "
                f"{pointer(path)}: move inner objects to $defs and refer to them."
            )
    if (size := len(text.encode(errors="surrogatepass"))) > MAX_BYTES:
        return (
            f"The schema has {size} bytes, but mlxcel accepts at most {MAX_BYTES}. The largest "
            f"part is {largest_part(schema)}: shorten it, or ask in several steps."
        )
    places = [path for path, _ in references(schema)]
    if len(places) > MAX_REFERENCES:
        place = pointer([*places[MAX_REFERENCES], "$ref"])
        return (
            f"The schema has {len(places)} references ($ref), but mlxcel accepts at most "
            f"{MAX_REFERENCES}. The first one too many is at {place}: use fewer kinds of objects."
        )
    return None


# --------------------------------------------------------------------------- smaller schemas


def _without_unused(schema: JsonSchema) -> JsonSchema:
    """Return a schema without the definitions at its top that nothing refers to."""
    rest = {name: part for name, part in schema.items() if name not in DEFINITIONS}
    waiting, used = [reference for _, reference in references(rest)], set[str]()
    while waiting:
        reference = waiting.pop()
        if reference not in used:
            used.add(reference)
            found = target(schema, reference)
            if isinstance(found, dict):
                waiting += (inner for _, inner in references(found))
    kept = {tuple(steps(reference)[:2]) for reference in used}
    definitions = {
        keyword: {name: part for name, part in schema[keyword].items() if (keyword, name) in kept}
        for keyword in DEFINITIONS
        if isinstance(schema.get(keyword), dict)
    }
    return rest | {keyword: parts for keyword, parts in definitions.items() if parts}


def _inlined(schema: JsonSchema) -> JsonSchema:
    """Return a schema whose definitions that are used once stand in their place."""
    counts = Counter(reference for _, reference in references(schema))
    once = {
        reference
        for reference, count in counts.items()
        if count == 1
        and len(steps(reference)) == 2
        and steps(reference)[0] in DEFINITIONS
        and not _contains_itself(schema, reference)
    }

    def placed(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        if part.get("$ref") in once and isinstance(found := target(schema, part["$ref"]), dict):
            rest = {name: value for name, value in part.items() if name != "$ref"}
            if rest.keys() <= ANNOTATIONS:  # others may mean something else beside the definition
                return placed({**found, **rest})
        return mapped(part, placed)

    return _without_unused(placed(schema))


def _contains_itself(schema: JsonSchema, reference: str) -> bool:
    """Return whether a definition refers to itself, directly or through others."""
    waiting, seen = [target(schema, reference)], set[str]()
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict):
            continue
        for _, inner in references(part):
            if inner == reference:
                return True
            if inner not in seen:
                seen.add(inner)
                waiting.append(target(schema, inner))
    return False
