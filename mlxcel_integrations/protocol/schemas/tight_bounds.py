"""Tight bounds for another answer to a schema: even the longest answer that they allow has room.

An answer that did not end is asked for again with them. They may cut a text that has to be longer,
which ``bounds`` avoids; nothing else makes sure that a small model comes to an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .bounds import combined_parts, is_too_long, kinds
from .json_schema import ANNOTATIONS, JsonSchema, compact, mapped
from .references import target

__all__ = ["tightly_bounded"]

DEFAULT_ROOM = 1000
"""Room for an answer whose length nothing limits, in tokens."""

MIN_TOKEN_CHARACTERS = 2
"""Fewest characters in a token of a name or a choice; in endless digits, each is a token."""

UNBOUNDED_VALUE_TOKENS = {"boolean": 2, "null": 2, "number": 20, "integer": 20, "string": 25}
"""Tokens of values that get no bounds, such as dates, and texts with a pattern."""

SYNTAX_TOKENS = 4
"""Tokens around a value: quotes, a comma, a colon, white space."""

SCALARS = ["string", "number", "boolean", "null"]
"""Types of a value that may be anything."""


class Level(NamedTuple):
    """Most characters of a text, items of a list, and digits of a whole number."""

    characters: int
    items: int
    digits: int
    only_required: bool = False


LOOSE_TO_TIGHT = (
    *(Level(400, 10, 18), Level(200, 8, 12), Level(120, 6, 10), Level(80, 5, 9), Level(60, 4, 9)),
    *(Level(40, 3, 8), Level(30, 2, 7), Level(20, 1, 6), Level(20, 1, 6, only_required=True)),
)
"""The levels to choose from, the loosest first."""


def tightly_bounded(schema: JsonSchema, tokens: int | None) -> JsonSchema:
    """Return a schema with the loosest level of bounds under which its longest value has room.

    Args:
        schema: The schema.
        tokens: Room for the answer; None if it is not limited.
    """
    room = tokens or DEFAULT_ROOM
    combined = combined_parts(schema)
    for level in LOOSE_TO_TIGHT:
        bounds = _TightBounds(schema, combined, level)
        if bounds.longest(schema) <= room:
            break
    found: JsonSchema = bounds.applied(schema)
    return schema if is_too_long(found, schema) else found


class _TightBounds:
    """Bounds of one level, and the longest values that they allow."""

    def __init__(self, schema: JsonSchema, combined: set[int], level: Level) -> None:
        self._schema = schema
        self._combined = combined
        self._level = level
        self._sizes: dict[int, float] = {}

    def applied(self, part: Any) -> Any:
        """Return a part of the schema with its bounds."""
        if not isinstance(part, dict):
            return part
        result = mapped(part, self.applied)
        if id(part) in self._combined or part.keys() & {"$ref", "enum", "const", "anyOf"}:
            return result
        return result | self._bounds(part)

    def longest(self, part: Any) -> float:
        """Return the tokens of the longest value of a part."""
        if not isinstance(part, dict):
            return UNBOUNDED_VALUE_TOKENS["string"]
        if id(part) not in self._sizes:
            self._sizes[id(part)] = 0  # for a part within itself
            self._sizes[id(part)] = self._measured(part)
        return self._sizes[id(part)]

    def _bounds(self, part: JsonSchema) -> dict[str, Any]:
        types, bounds = kinds(part), dict[str, Any]()
        if "string" in types and not part.keys() & {"pattern", "format"}:
            bounds["maxLength"] = self._most(part, "Length", self._level.characters)
        if "integer" in types and "number" not in types and "multipleOf" not in part:
            bounds |= self._digits(part)
        if (
            "array" in types
            and "prefixItems" not in part
            and not isinstance(part.get("items"), list)
        ):
            bounds["maxItems"] = self._most(part, "Items", self._level.items)
        if "object" in types and part.get("properties"):
            bounds |= self._properties(part)
        elif "object" in types:
            bounds["maxProperties"] = self._most(part, "Properties", self._level.items)
        if not part.keys() - ANNOTATIONS:
            bounds |= {"type": SCALARS, "maxLength": self._level.characters}
        return bounds

    def _most(self, part: JsonSchema, what: str, wanted: int) -> int:
        """Return an upper limit that leaves something to choose from the user's limits."""
        least: int = part.get(f"min{what}", 0)
        most: int = part.get(f"max{what}", max(wanted, 2 * least))
        return min(most, max(wanted, least))

    def _digits(self, part: JsonSchema) -> dict[str, Any]:
        most = 10**self._level.digits - 1
        lower = part.get("minimum", part.get("exclusiveMinimum"))
        upper = part.get("maximum", part.get("exclusiveMaximum"))
        bounds = {}
        if lower is None and (upper is None or upper > -most):
            bounds["minimum"] = -most
        if upper is None and (lower is None or lower < most):
            bounds["maximum"] = most
        return bounds

    def _properties(self, part: JsonSchema) -> dict[str, Any]:
        """Close an object that is open, and leave out optional properties if room is short."""
        named, required = part["properties"], part.get("required", ())
        bounds: dict[str, Any] = {}
        if set(required) <= named.keys() and "minProperties" not in part:
            bounds["additionalProperties"] = False
            if self._level.only_required and required:
                kept = {name: self.applied(named[name]) for name in named if name in required}
                bounds["properties"] = kept
        return bounds

    def _measured(self, part: JsonSchema) -> float:
        if "const" in part or part.get("enum"):
            values = part.get("enum") or [part["const"]]
            return max(len(compact(value)) for value in values) / MIN_TOKEN_CHARACTERS
        if "$ref" in part:
            return self.longest(target(self._schema, part["$ref"]))
        choices = part.get("anyOf") or part.get("oneOf")
        return self._of_types(part) + max(map(self.longest, choices or [{"const": 0}]))

    def _of_types(self, part: JsonSchema) -> float:
        most = part | ({} if id(part) in self._combined else self._bounds(part))
        sizes = [0.0]
        for kind in kinds(most):
            if kind == "string" and "maxLength" in most:
                sizes.append(most["maxLength"] + 2)
            elif kind == "array":
                first, items = part.get("prefixItems", ()), part.get("items", {})
                each = self.longest(items) + SYNTAX_TOKENS
                sizes.append(2 + most.get("maxItems", 4) * each + sum(map(self.longest, first)))
            elif kind == "object":
                sizes.append(self._of_object(part, most))
            elif kind == "integer" and "maximum" in most:
                sizes.append(len(str(most["maximum"])))
            else:
                sizes.append(UNBOUNDED_VALUE_TOKENS.get(kind, UNBOUNDED_VALUE_TOKENS["string"]))
        return max(sizes)

    def _of_object(self, part: JsonSchema, most: Mapping[str, Any]) -> float:
        kept = most.get("properties", {}).keys()
        named = {name: each for name, each in part.get("properties", {}).items() if name in kept}
        size = 2 + sum(
            len(name) / MIN_TOKEN_CHARACTERS + SYNTAX_TOKENS + self.longest(each)
            for name, each in named.items()
        )
        if not named:
            each = (
                self.longest(part.get("additionalProperties", {}))
                + UNBOUNDED_VALUE_TOKENS["string"]
            )
            size += most.get("maxProperties", 4) * each
        return size
