"""References of JSON schemas: where each leads, and whether an answer that follows them can end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ...errors import MlxcelError
from .json_schema import JsonSchema, Path, containers, pointer

__all__ = ["check_references", "is_object", "references", "steps", "target"]

DYNAMIC_REFERENCES = ("$dynamicRef", "$recursiveRef")
"""References whose targets depend on the schemas passed on the way to them."""


def check_references(schema: JsonSchema) -> None:
    """Check that a server can follow all references, and that a matching answer can end.

    Raises:
        MlxcelError: One leads nowhere, or they never end.
    """
    for path, part in containers(schema):
        for keyword in DYNAMIC_REFERENCES:
            if isinstance(part, dict) and isinstance(part.get(keyword), str):
                raise MlxcelError(
                    f"The schema refers to {part[keyword]!r} by {keyword} at {pointer(path)}, "
                    "which servers do not follow: use $ref, and put the schema into $defs."
                )
    targets = {
        name: _checked_target(schema, [*path, "$ref"], name) for path, name in references(schema)
    }
    try:
        _check_ends(schema, targets)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise MlxcelError(
            f"The schema has a keyword with a value of the wrong kind: {error}. Check required, "
            "properties, anyOf, oneOf, allOf, prefixItems and minItems."
        ) from None


def references(schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield all references, each with the path of the part that has it."""
    for path, part in containers(schema):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            yield path, part["$ref"]


def steps(reference: str) -> list[str]:
    """Return the keys that lead from the top of a schema to the place of a reference."""
    keys = unquote(reference[1:]).split("/")[1:]
    return [key.replace("~1", "/").replace("~0", "~") for key in keys]


def target(schema: Any, reference: str) -> Any:
    """Return the part of a schema that a reference points to, None if there is no such part."""
    found = schema
    try:
        for key in steps(reference):
            found = found[int(key) if isinstance(found, list) else key]
    except (LookupError, TypeError, ValueError):
        return None
    return found


def is_object(schema: JsonSchema) -> bool:
    """Return whether all values of a schema are objects, as far as its top level shows."""
    seen = set()
    part: Any = schema
    while isinstance(part, dict) and "$ref" in part and part["$ref"] not in seen:
        seen.add(part["$ref"])
        part = target(schema, part["$ref"])
    return isinstance(part, dict) and part.get("type") == "object"


def _checked_target(schema: JsonSchema, path: Iterable[object], name: str) -> Any:
    if not name.startswith("#"):
        raise MlxcelError(
            f"The schema refers to {name!r} at {pointer(path)}, outside of itself: copy that "
            "schema into $defs, since servers fetch nothing."
        )
    found = target(schema, name)
    if not isinstance(found, dict | bool) or (name != "#" and not name.startswith("#/")):
        raise MlxcelError(
            f"The schema refers to {name!r} at {pointer(path)}, but there is no such part: "
            'write it as "#/$defs/<name>", and put the schema there.'
        )
    return found


def _check_ends(schema: JsonSchema, targets: Mapping[str, Any]) -> None:
    """Refuse references that force every value to contain another one of the same kind."""
    ends = _FiniteParts()
    while more := {name for name in targets.keys() - ends.references if ends.of(targets[name])}:
        ends.references |= more
        ends.forget_endless()
    if not ends.of(schema):
        endless = min(targets.keys() - ends.references)
        raise MlxcelError(
            f"The schema is recursive without end at {endless}: an object of it requires another "
            "one of the same kind. Make that property optional, or allow null for it."
        )


class _FiniteParts:
    """Parts of a schema of which some value is finite, each looked at once.

    Attributes:
        references: The references that can end.
    """

    def __init__(self) -> None:
        self.references: set[str] = set()
        self._known: dict[int, bool] = {}

    def forget_endless(self) -> None:
        """Look again at parts that could not end with fewer references."""
        self._known = {part: True for part, ends in self._known.items() if ends}

    def of(self, schema: Any) -> bool:
        """Return whether some value of a schema is finite."""
        if not isinstance(schema, dict):
            return True
        if id(schema) not in self._known:
            self._known[id(schema)] = self._find_finite(schema)
        return self._known[id(schema)]

    def _find_finite(self, schema: JsonSchema) -> bool:
        if "$ref" in schema and schema["$ref"] not in self.references:
            return False
        for union in ("anyOf", "oneOf"):
            if schema.get(union) and not any(self.of(part) for part in schema[union]):
                return False
        properties = schema.get("properties", {})
        first, least = schema.get("prefixItems", ()), int(schema.get("minItems", 0))
        needed = [properties.get(name) for name in schema.get("required", ())]
        needed += [*schema.get("allOf", ()), *first[:least]]
        if least > len(first):
            needed.append(schema.get("items"))
        return all(self.of(part) for part in needed)
