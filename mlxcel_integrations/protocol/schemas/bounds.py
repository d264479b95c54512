"""Bounds for answers to a schema: limits for texts, lists, maps and whole numbers that have none.

A schema often leaves open how long a text or a list may become, and small models often do not end
it. The schema that is sent has limits where the user's has none. It allows less than the user's,
but never nothing, and answers are still checked by the user's schema.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from .json_schema import ANNOTATIONS, DEFINITIONS, JsonSchema, compact, containers, mapped
from .references import target
from .size_limits import MAX_BYTES

__all__ = ["MAX_INTEGER", "bounded", "combined_parts", "is_too_long", "kinds"]

TOKEN_CHARACTERS = 5
"""Characters of JSON in a token, at most on average: prose in English has four and a half."""

OPEN_PARTS_SHARE = 1.5
"""Share of an object's room for all of its open parts; over 1, since few of them are long."""

MIN_ITEM_TOKENS = 5
"""Fewest tokens of a text in a list, with its quotes, comma and white space."""

MIN_TEXT_CHARACTERS = 100
"""Characters that any text may have."""

TYPICAL_ITEMS = 4
"""Items that any list may have; each gets this part of the room, since few of them are long."""

MAX_BOUND = 2000
"""Largest bound to set: llama.cpp refuses more repetitions, and no endless text gets that far."""

MAX_INTEGER = 9 * 10**18
"""The largest round number that llguidance compiles: its integers have 64 bits."""

SHORT_VALUE_CHARACTERS = {"string": 12, "integer": 4, "number": 6, "boolean": 5, "null": 4}
"""Characters of a short value."""

ANY_VALUE_CHARACTERS = 20
"""Characters of a short value of any type, such as a map with one entry."""

COMBINING_KEYWORDS = {
    *("allOf", "oneOf", "not", "if", "then", "else", "dependencies", "dependentSchemas"),
    *("patternProperties", "propertyNames", "contains", "additionalItems"),
    *("unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
}
"""Keywords by which several schemas apply to one value, so that a bound in one of them might
contradict another."""


def bounded(schema: JsonSchema, tokens: int | None) -> JsonSchema:
    """Return a schema with bounds added where it has none; the same object if nothing changes.

    Args:
        schema: The schema.
        tokens: Room for the answer; None if it is not limited, so that only numbers are.
    """
    # A copy in which each part is an object of its own, since parts are identified by their ids.
    parts = json.loads(compact(schema))
    found = _Bounds(parts).within(None if tokens is None else tokens * TOKEN_CHARACTERS)
    changed = _with_bounds(parts, found)
    return changed if found and not is_too_long(changed, schema) else schema


def is_too_long(changed: JsonSchema, schema: JsonSchema) -> bool:
    """Return whether its bounds have taken a schema beyond the limit of mlxcel."""
    return len(compact(changed).encode()) > MAX_BYTES >= len(compact(schema).encode())


def _with_bounds(schema: Any, found: Mapping[int, JsonSchema]) -> Any:
    if not isinstance(schema, dict):
        return schema
    return mapped(schema, lambda part: _with_bounds(part, found)) | found.get(id(schema), {})


class _Bounds:
    """Bounds for the parts of a schema, each looked at once, the outer ones first."""

    def __init__(self, schema: JsonSchema) -> None:
        self._schema = schema
        self._found: dict[int, dict[str, Any]] = {}
        self._seen = combined_parts(schema)
        self._sizes: dict[int, int] = {}
        self._open: dict[int, bool] = {}
        self._room: float | None = None

    def within(self, room: float | None) -> dict[int, dict[str, Any]]:
        """Return new keywords of parts by their ids.

        Args:
            room: Characters of the whole value, None if they are not limited.
        """
        self._room = room
        waiting: deque[tuple[Any, float | None]] = deque([(self._schema, room)])
        while waiting:
            part, room = waiting.popleft()
            if isinstance(part, dict) and id(part) not in self._seen:
                self._seen.add(id(part))
                waiting.extend(self._visit(part, room))
        return self._found

    def _visit(self, part: JsonSchema, room: float | None) -> Iterator[tuple[Any, float | None]]:
        """Note the bounds of a part, and yield the parts in it with their rooms."""
        if "enum" in part or "const" in part:
            return
        if "$ref" in part:
            yield target(self._schema, part["$ref"]), room
            return
        yield from ((branch, room) for branch in part.get("anyOf", ()))
        types = kinds(part)
        if "integer" in types and "number" not in types:
            self._set_integer_bounds(part)
        if "string" in types and room is not None:
            self._set_text_bound(part, room)
        if "array" in types:
            yield from self._visit_items(part, room)
        if "object" in types:
            yield from self._visit_properties(part, room)

    def _set_bound(self, part: JsonSchema, keyword: str, most: float, least: Any = 0) -> None:
        most = max(int(most), 2 * int(least or 0))
        if most <= MAX_BOUND:
            self._found.setdefault(id(part), {})[keyword] = most

    def _set_integer_bounds(self, part: JsonSchema) -> None:
        if "multipleOf" in part:
            return
        least: Any = part.get("minimum", part.get("exclusiveMinimum", -MAX_INTEGER))
        most: Any = part.get("maximum", part.get("exclusiveMaximum", MAX_INTEGER))
        bounds = self._found.setdefault(id(part), {})
        if not part.keys() & {"minimum", "exclusiveMinimum"} and most > -MAX_INTEGER:
            bounds["minimum"] = -MAX_INTEGER
        if not part.keys() & {"maximum", "exclusiveMaximum"} and least < MAX_INTEGER:
            bounds["maximum"] = MAX_INTEGER

    def _set_text_bound(self, part: JsonSchema, room: float) -> None:
        if not part.keys() & {"maxLength", "pattern", "format"}:
            self._set_bound(
                part, "maxLength", max(room, MIN_TEXT_CHARACTERS), part.get("minLength")
            )

    def _visit_items(
        self, part: JsonSchema, room: float | None
    ) -> Iterator[tuple[Any, float | None]]:
        first, items = part.get("prefixItems", ()), part.get("items", {})
        if isinstance(items, list):  # a tuple of older dialects
            first, items = items, {}
        inner = room
        if room is not None and self._room is not None:
            count = len(first) + self._room // self._item_size(items)
            if "maxItems" not in part and items is not False:
                self._set_bound(part, "maxItems", max(count, TYPICAL_ITEMS), part.get("minItems"))
            inner = self._room / TYPICAL_ITEMS
        yield from ((each, inner) for each in (*first, items))

    def _visit_properties(
        self, part: JsonSchema, room: float | None
    ) -> Iterator[tuple[Any, float | None]]:
        named, more = part.get("properties", {}), part.get("additionalProperties", {})
        inner, wide = room, room
        if room is not None and self._room is not None:
            rest = max(room - self._typical_size(part), room / TYPICAL_ITEMS)
            opened = sum(map(self._is_open, named.values()))
            inner, wide = (
                rest * min(1, OPEN_PARTS_SHARE / max(opened, 1)),
                self._room / TYPICAL_ITEMS,
            )
            if more is not False and "maxProperties" not in part and (not named or more):
                size = self._item_size(more) + SHORT_VALUE_CHARACTERS["string"]
                count = len(named) + self._room // size
                least = max(len(part.get("required", ())), part.get("minProperties", 0))
                self._set_bound(part, "maxProperties", max(count, TYPICAL_ITEMS), least)
        yield from ((each, inner) for each in named.values())
        yield more, wide

    # ----------------------------------------------------------------------- sizes

    def _item_size(self, part: Any) -> int:
        """Return the characters of a short value among others."""
        return max(
            self._typical_size(part) + 2,
            MIN_ITEM_TOKENS * TOKEN_CHARACTERS if self._is_open(part) else 0,
        )

    def _typical_size(self, part: Any) -> int:
        """Return the characters of a short value."""
        if not isinstance(part, dict):
            return ANY_VALUE_CHARACTERS
        if id(part) not in self._sizes:
            self._sizes[id(part)] = SHORT_VALUE_CHARACTERS["null"]  # for a part within itself
            self._sizes[id(part)] = self._measure(part)
        return self._sizes[id(part)]

    def _measure(self, part: JsonSchema) -> int:
        if "const" in part or part.get("enum"):
            return max(len(compact(value)) for value in part.get("enum") or [part["const"]])
        if "$ref" in part:
            return self._typical_size(target(self._schema, part["$ref"]))
        if part.get("anyOf"):
            return max(map(self._typical_size, part["anyOf"]))
        types = kinds(part)
        if "object" in types and part.get("properties"):
            named = part["properties"].items()
            return 2 + sum(len(name) + 6 + self._typical_size(each) for name, each in named)
        if "array" in types:
            least: int = part.get("minItems", 1)
            return 2 + max(least, 1) * (self._typical_size(part.get("items")) + 2)
        return max(
            (SHORT_VALUE_CHARACTERS.get(kind, ANY_VALUE_CHARACTERS) for kind in types),
            default=ANY_VALUE_CHARACTERS,
        )

    def _is_open(self, part: Any) -> bool:
        """Return whether a text, a list or a map in a part may be of any length."""
        if not isinstance(part, dict):
            return bool(part)
        if id(part) not in self._open:
            self._open[id(part)] = False  # for a part within itself
            self._open[id(part)] = self._find_open(part)
        return self._open[id(part)]

    def _find_open(self, part: JsonSchema) -> bool:
        if "const" in part or "enum" in part:
            return False
        if "$ref" in part:
            return self._is_open(target(self._schema, part["$ref"]))
        types = kinds(part)
        if "string" in types and not part.keys() & {"maxLength", "format"}:
            return True
        if "array" in types and "maxItems" not in part:
            return True
        inner = [*part.get("anyOf", ()), *part.get("properties", {}).values()]
        inner += [part[name] for name in ("items", "additionalProperties") if name in part]
        return any(map(self._is_open, inner))


def combined_parts(schema: JsonSchema) -> set[int]:
    """Return the ids of parts that apply to a value together with others, and so get no bounds."""
    found: set[int] = set()
    waiting = [
        part for _, part in containers(schema) if isinstance(part, dict) and _is_combined(part)
    ]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict) and id(part) not in found:
            found.add(id(part))
            waiting += (inner for name, inner in part.items() if name not in DEFINITIONS)
            if isinstance(part.get("$ref"), str):
                waiting.append(target(schema, part["$ref"]))
    return found


def _is_combined(part: JsonSchema) -> bool:
    """Return whether several schemas apply to the values of a part."""
    if part.keys() & COMBINING_KEYWORDS:
        return True
    alone = "$ref" if "$ref" in part else "anyOf"
    return alone in part and bool(part.keys() - ANNOTATIONS - {alone})


def kinds(part: JsonSchema) -> tuple[str, ...]:
    """Return the types of a part's values; if it names none, those that its keywords imply."""
    named = part.get("type")
    if named is None:
        return ("object",) if "properties" in part else ("array",) if "items" in part else ()
    return (named,) if isinstance(named, str) else tuple(named)
