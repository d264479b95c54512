"""Smallest answer to a schema: the fewest tokens that it takes, and schemas that nothing fits."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import MlxcelError
from ..arguments import whole
from ..tools.call_schemas import CALL_SCHEMA_NAME
from .json_schema import (
    UNUSUAL_SCHEMA_ERRORS,
    JsonSchema,
    Path,
    compact,
    containers,
    pointer,
    schema_in,
)
from .references import references, target

__all__ = ["check_room", "check_satisfiable", "least_room"]

MANY_TOKENS = 512
"""Room for an answer, in tokens, that is not checked: the smallest answer rarely needs as much."""

REAL_SHARE = 2
"""Tokens of a real answer for each token of the smallest one, whose values may be empty."""

EMPTY_VALUE_TOKENS = {"object": 1, "array": 1}
"""Tokens of an empty value; a scalar may share its token with what stands around it."""

TYPES: dict[str, tuple[type, ...]] = {
    **{"string": (str,), "object": (dict,), "array": (list,), "null": (type(None),)},
    **{"boolean": (bool,), "integer": (int, float), "number": (int, float)},
}

MAX_ROUNDS = 10
"""Most definitions to follow in a row, each of which refers to the next."""

MAX_COMPARED_PARTS = 20
"""Parts that apply to one value and are compared with each other."""

CONTRADICTION = "its parts contradict each other"

CACHED_ANSWERS = 64

NOTHING = math.inf
"""Size of the smallest value where nothing fits."""


def check_satisfiable(schema: JsonSchema, name: str) -> None:
    """Check that something fits a schema, as far as its bounds and its required parts tell.

    Raises:
        MlxcelError: Nothing does.
    """
    try:
        smallest = _Smallest(schema)
    except UNUSUAL_SCHEMA_ERRORS:
        return
    if smallest.tokens < NOTHING:
        return
    path, reason = next(smallest.contradictions(), ((), CONTRADICTION))
    raise MlxcelError(
        f"Nothing fits the schema {name!r}: at {pointer(path)}, {reason}. Change it there."
    )


def check_room(response_format: Any, tokens: int | None) -> None:
    """Check that the smallest answer to the schema of a ``response_format`` may have room.

    Args:
        response_format: The field of the request; without a schema there is nothing to check.
        tokens: ``max_tokens`` of the request, None without a limit.

    Raises:
        MlxcelError: It has more tokens than that.
    """
    if tokens is None or tokens > MANY_TOKENS or (schema := schema_in(response_format)) is None:
        return
    least = _least_tokens(compact(schema))
    if tokens < least < NOTHING:
        name = response_format["json_schema"].get("name", "answer")
        # Nobody has named the schema of a call.
        what = "tool call" if name == CALL_SCHEMA_NAME else f"answer to the schema {name!r}"
        raise MlxcelError(
            f"max_tokens={tokens} is too small: the smallest {what} has at least {least} tokens, "
            "and most need several times as many. Raise max_tokens, or ask for less."
        )


def least_room(response_format: Any) -> int:
    """Return the tokens that an answer to the schema of a ``response_format`` needs at least.

    Args:
        response_format: The field of the request; the schema may be anything.
    """
    schema = schema_in(response_format)
    least = 0.0 if schema is None else _least_tokens(compact(schema))
    return int(REAL_SHARE * least) if least < NOTHING else 0


@functools.lru_cache(CACHED_ANSWERS)
def _least_tokens(text: str) -> float:
    try:
        return _Smallest(json.loads(text)).tokens
    except UNUSUAL_SCHEMA_ERRORS:
        return 0


class _Smallest:
    """The smallest value of a schema, found by its references until nothing changes.

    Attributes:
        tokens: Tokens of the smallest value, at least; ``NOTHING`` if nothing fits.
    """

    def __init__(self, schema: JsonSchema) -> None:
        self._schema = schema
        self._conflicts: dict[int, str | None] = {}
        names = {name for _, name in references(schema)}
        self._known: dict[int, float] = {}
        self._found: dict[str, float] = dict.fromkeys(names, NOTHING)
        for _ in range(MAX_ROUNDS):
            self._known = {}
            found = {name: self._size_of(target(schema, name)) for name in names}
            if found == self._found:
                break
            self._found = found
        else:
            self._found = dict.fromkeys(names, 0)
        self._known = {}
        self.tokens = self._size_of(schema)

    def contradictions(self) -> Iterator[tuple[Path, str]]:
        """Yield the places where nothing fits, and why."""
        for path, part in containers(self._schema):
            if isinstance(part, dict) and (reason := self._contradiction(part)):
                yield path, reason

    def _size_of(self, part: Any) -> float:
        if not isinstance(part, dict):
            return NOTHING if part is False else 0
        if id(part) not in self._known:
            self._known[id(part)] = self._measure(part)
        return self._known[id(part)]

    def _measure(self, part: JsonSchema) -> float:
        sizes = [self._size_of_types(part)]
        if isinstance(part.get("$ref"), str):
            sizes.append(self._found.get(part["$ref"], 0))
        if "allOf" in part:
            sizes += map(self._size_of, part["allOf"])
            sizes.append(NOTHING if self._conflict(part) else 0)
        sizes += [
            min(map(self._size_of, part[union])) for union in ("anyOf", "oneOf") if part.get(union)
        ]
        return max(sizes)

    def _size_of_types(self, part: JsonSchema) -> float:
        if "enum" in part or "const" in part:
            return 0 if any(_has_type(value, part) for value in _allowed_values(part)) else NOTHING
        types = part.get("type", ())
        types = (types,) if isinstance(types, str) else types
        return min((self._size_of_type(kind, part) for kind in types), default=0)

    def _size_of_type(self, kind: str, part: JsonSchema) -> float:
        if _bounds_conflict(kind, part):
            return NOTHING
        size: float = EMPTY_VALUE_TOKENS.get(kind, 0)
        if kind == "array":
            first, least = part.get("prefixItems", ()), int(part.get("minItems", 0))
            size += sum(map(self._size_of, first[:least]))
            if least > len(first):
                # Commas stand between items, if not within them.
                size += (least - len(first)) * max(self._size_of(part.get("items")), 0.5)
        if kind == "object":
            properties = part.get("properties", {})
            for name in part.get("required", ()):
                if name not in properties and _is_closed(part):
                    return NOTHING
                # The name, and what stands around it.
                size += max(2, 1 + self._size_of(properties.get(name)))
        return math.ceil(size) if size < NOTHING else NOTHING

    def _conflict(self, part: JsonSchema) -> str | None:
        """Return how parts that apply to one value contradict each other, None if they do not."""
        if id(part) not in self._conflicts:
            together = _bounds_together(self._applied_with(part))
            reason = None
            if together.get("type") == []:
                reason = "its parts have no type in common"
            elif self._size_of_types(together) == NOTHING:
                reason = self._contradiction(together) or CONTRADICTION
            self._conflicts[id(part)] = reason
        return self._conflicts[id(part)]

    def _applied_with(self, part: JsonSchema) -> list[JsonSchema]:
        """Return a part, and parts that apply to the same value."""
        found: dict[int, JsonSchema] = {}
        waiting: list[Any] = [part]
        while waiting and len(found) < MAX_COMPARED_PARTS:
            each = waiting.pop()
            if isinstance(each, dict) and id(each) not in found:
                found[id(each)] = each
                waiting += each.get("allOf", ())
                if isinstance(each.get("$ref"), str):
                    waiting.append(target(self._schema, each["$ref"]))
        return list(found.values())

    def _contradiction(self, part: JsonSchema) -> str | None:
        if "allOf" in part:
            return self._conflict(part)
        if "enum" in part or "const" in part:
            wrong = self._size_of_types(part) == NOTHING
            return "none of the choices is possible" if wrong else None
        for kind in TYPES:
            if self._is_only(kind, part) and (crossed := _bounds_conflict(kind, part)):
                return crossed
        if self._is_only("object", part):
            for name in part.get("required", ()):
                named = part.get("properties", {})
                if (name not in named and _is_closed(part)) or named.get(name) is False:
                    return f"the required property {name!r} is not allowed"
        return None

    @staticmethod
    def _is_only(kind: str, part: JsonSchema) -> bool:
        return part.get("type") in (kind, [kind])


def _allowed_values(part: JsonSchema) -> list[Any]:
    values: list[Any] = part.get("enum", [part.get("const")])
    return [value for value in values if "const" not in part or value == part["const"]]


def _has_type(value: Any, part: JsonSchema) -> bool:
    types = part.get("type")
    if types is None:
        return True
    known = TYPES.get
    return any(
        isinstance(value, known(kind, (object,)))
        and (kind == "boolean" or not isinstance(value, bool) or kind not in TYPES)
        for kind in ([types] if isinstance(types, str) else types)
    )


def _is_closed(part: JsonSchema) -> bool:
    return part.get("additionalProperties") is False and not part.get("patternProperties")


STRICTEST = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), min),
    **{"minProperties": max, "maxProperties": min},
}
"""Bounds of a value to which several schemas apply."""


def _bounds_together(parts: list[JsonSchema]) -> JsonSchema:
    """Return the types, choices and bounds of a value to which several schemas apply."""
    found: JsonSchema = {
        name: strictest(part[name] for part in parts if name in part)
        for name, strictest in STRICTEST.items()
        if any(name in part for part in parts)
    }
    if types := [_kinds_of(part["type"]) for part in parts if "type" in part]:
        common = [kind for kind in types[0] if all(kind in each for each in types)]
        found["type"] = [kind for kind in common if kind != "integer" or "number" not in common]
    with contextlib.suppress(TypeError):  # only scalars are compared
        choices = [set(_allowed_values(part)) for part in parts if part.keys() & {"enum", "const"}]
        if choices:
            found["enum"] = list(set.intersection(*choices))
    return found


def _kinds_of(types: str | list[str]) -> list[str]:
    """Return types as a list, with ``integer`` after them if ``number`` is one of them."""
    named = [types] if isinstance(types, str) else types
    return [*named, "integer"] if "number" in named else named


LENGTHS = {"string": "Length", "array": "Items", "object": "Properties"}


def _bounds_conflict(kind: str, part: Mapping[str, Any]) -> str | None:
    """Return how the bounds of values of a type contradict each other, None if they do not."""
    if kind in LENGTHS:
        low, high = f"min{LENGTHS[kind]}", f"max{LENGTHS[kind]}"
        if part.get(low, 0) > part.get(high, math.inf):
            return f"{low} {part[low]} is above {high} {part[high]}"
    if kind == "object" and len(part.get("required", ())) > part.get("maxProperties", math.inf):
        return f"more properties are required than maxProperties {part['maxProperties']} allows"
    return _number_bounds_conflict(kind, part) if kind in ("integer", "number") else None


def _number_bounds_conflict(kind: str, part: Mapping[str, Any]) -> str | None:
    lower = [(part[name], name) for name in ("minimum", "exclusiveMinimum") if name in part]
    upper = [(part[name], name) for name in ("maximum", "exclusiveMaximum") if name in part]
    for low, low_name in lower:
        for high, high_name in upper:
            if isinstance(low, bool) or isinstance(high, bool):  # an older dialect
                continue
            exclusive = "exclusive" in low_name + high_name
            first, last = low, high
            if kind == "integer":
                first = math.floor(low) + 1 if "exclusive" in low_name else math.ceil(low)
                last = math.ceil(high) - 1 if "exclusive" in high_name else math.floor(high)
            if first > last or (kind == "number" and exclusive and first == last):
                return f"no value is between {low_name} {low} and {high_name} {high}"
            step = whole(part.get("multipleOf")) if kind == "integer" else None
            if step and first + -first % step > last:
                return f"no multiple of {step} is between {low_name} {low} and {high_name} {high}"
    return None
