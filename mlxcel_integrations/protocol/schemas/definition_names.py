"""References in JSON schemas, changed where servers cannot follow them.

mlxcel up to v0.4.2 refuses a reference that is not a valid URI, such as ``#/$defs/Box[int]``, and
llama.cpp finds no definition whose name has to be encoded. So both get names that need no encoding.
llama.cpp follows no reference to the whole schema, either, which becomes a definition for it.
Answers do not contain these names, so only the schema that is sent is changed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

from .json_schema import (
    DEFINITIONS,
    SCHEMAS_BY_NAME,
    JsonSchema,
    containers,
    mapped,
    pointer,
    rebased,
)
from .references import references, steps

__all__ = ["uri_safe", "with_itself_defined"]

REFERENCE = re.compile(r'"\$ref": "([^"]*)')
"""A reference in the JSON text of a schema."""

PLAIN_REFERENCE = re.compile(r"#(/[A-Za-z0-9._$-]+)*")
"""A reference that every server can follow."""

UNSAFE_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]+")
"""Characters to avoid in the name of a definition."""


def uri_safe(schema: Any) -> Any:
    """Return a schema whose references every server can follow; the same object if they all can."""
    if all(map(PLAIN_REFERENCE.fullmatch, REFERENCE.findall(json.dumps(schema)))):
        return schema
    return _renamed(schema, _safe_names(schema))


def with_itself_defined(schema: JsonSchema) -> JsonSchema:
    """Return a schema that refers to itself by the name of a definition instead of ``#``."""
    if all(reference != "#" for _, reference in references(schema)):
        return schema
    name = "root"
    while name in schema.get("$defs", {}):
        name += "_"
    moved = rebased(schema, f"#/$defs/{name}", tuple(f"#/{keyword}/" for keyword in DEFINITIONS))
    itself = {keyword: part for keyword, part in moved.items() if keyword not in DEFINITIONS}
    return {**moved, "$defs": {**moved.get("$defs", {}), name: itself}}


def _safe_names(schema: JsonSchema) -> dict[str, str]:
    """Return new, unique names for the definitions that need one."""
    names = list(_definition_names(schema))
    taken = set(names)
    result: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name in names:
        if name in result or (name and not UNSAFE_CHARACTERS.search(name)):
            continue
        base = safe = UNSAFE_CHARACTERS.sub("_", name) or "_"
        while safe in taken:
            counts[base] += 1
            safe = f"{base}_{counts[base] + 1}"
        taken.add(safe)
        result[name] = safe
    return result


def _definition_names(schema: JsonSchema) -> Iterator[str]:
    for _, part in containers(schema):
        for keyword in DEFINITIONS:
            named = part.get(keyword) if isinstance(part, dict) else None
            if isinstance(named, dict):
                yield from (name for name in named if isinstance(name, str))


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    """Return a schema with its definitions renamed, and the references to them."""
    if not isinstance(schema, dict):
        return schema
    result = mapped(schema, lambda part: _renamed(part, names))
    for keyword in DEFINITIONS:
        if isinstance(result.get(keyword), dict):
            parts = result[keyword].items()
            result[keyword] = {names.get(name, name): part for name, part in parts}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        result["$ref"] = _renamed_reference(reference, names)
    return result


def _renamed_reference(reference: str, names: dict[str, str]) -> str:
    """Return a reference with renamed definitions; what cannot be renamed is percent-encoded."""
    path = []
    rest = iter(steps(reference))
    for keyword in rest:
        path.append(keyword)
        if keyword in SCHEMAS_BY_NAME:
            for name in islice(rest, 1):  # none if the reference ends here
                path.append(names.get(name, name) if keyword in DEFINITIONS else name)
    return "#" + quote(pointer(path), safe="/~$", errors="surrogatepass")
