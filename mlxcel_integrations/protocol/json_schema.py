"""What servers accept of a JSON schema, checked before it is sent.

mlxcel refuses a schema beyond its limits with one general message. Here the error names the
place, as a JSON pointer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any
from urllib.parse import unquote

from ..errors import MlxcelError

__all__ = ["check_references", "check_size", "compact", "pointer", "target"]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_REFERENCES = 64

JsonSchema = dict[str, Any]
Path = tuple[str | int, ...]


def compact(value: object) -> str:
    """Return JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def pointer(path: Iterable[object]) -> str:
    """Return the JSON pointer of a place, ``/`` for the top."""
    return "/" + "/".join(str(key).replace("~", "~0").replace("/", "~1") for key in path)


def check_size(schema: JsonSchema) -> None:
    """Check that a server can take something of this depth and length.

    Raises:
        MlxcelError: It cannot.
    """
    for path, _ in _containers(schema):
        if len(path) >= MAX_DEPTH:
            raise MlxcelError(
                f"The schema is nested deeper than the {MAX_DEPTH} levels that the server takes, "
                f"at {pointer(path)}: move inner objects to $defs and refer to them."
            )
    size = len(compact(schema).encode())
    if size > MAX_BYTES:
        raise MlxcelError(
            f"The schema has {size} bytes, and the server takes {MAX_BYTES}. "
            f"The largest part is {_largest(schema)}: shorten it, or ask in several steps."
        )


def check_references(schema: JsonSchema) -> None:
    """Check that a server can follow all references, and that an answer to them can end.

    Raises:
        MlxcelError: They are too many, lead nowhere, or never end.
    """
    references = [
        ([*path, "$ref"], part["$ref"])
        for path, part in _containers(schema)
        if isinstance(part, dict) and isinstance(part.get("$ref"), str)
    ]
    if len(references) > MAX_REFERENCES:
        place = pointer(references[MAX_REFERENCES][0])
        raise MlxcelError(
            f"The schema has {len(references)} references ($ref), and the server takes "
            f"{MAX_REFERENCES}. The first too many is at {place}: ask for fewer kinds of objects."
        )
    targets = {name: _resolve(schema, path, name) for path, name in references}
    _check_ends(schema, targets)


def target(schema: Any, reference: str) -> Any:
    """Return what a reference within a schema leads to, None where nothing is."""
    found = schema
    try:
        for key in unquote(reference[1:]).split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            found = found[int(key) if isinstance(found, list) else key]
    except (LookupError, TypeError, ValueError):
        return None
    return found


def _containers(schema: JsonSchema) -> Iterator[tuple[Path, Any]]:
    """Yield all objects and lists with their paths, the outer ones first."""
    waiting: list[tuple[Path, Any]] = [((), schema)]
    for path, part in waiting:
        yield path, part
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(value, dict | list):
                waiting.append(((*path, key), value))


def _largest(schema: JsonSchema) -> str:
    parts = [(len(compact(part)), path) for path, part in _containers(schema) if len(path) == 2]
    return pointer(max(parts, key=itemgetter(0), default=(0, ()))[1])


def _resolve(schema: JsonSchema, path: Iterable[object], name: str) -> Any:
    if not name.startswith("#"):
        raise MlxcelError(
            f"The schema refers to {name!r} at {pointer(path)}, outside of itself: put what is "
            "there into $defs, since servers fetch nothing."
        )
    found = target(schema, name)
    if not isinstance(found, dict | bool) or (name != "#" and not name.startswith("#/")):
        raise MlxcelError(
            f"The schema refers to {name!r} at {pointer(path)}, where nothing is: write it as "
            '"#/$defs/<name>", and put the schema there.'
        )
    return found


def _check_ends(schema: JsonSchema, targets: Mapping[str, Any]) -> None:
    """Find the references that can be followed to an end; the others never stop growing."""
    ending: set[str] = set()
    while more := {n for n in targets.keys() - ending if _ends(targets[n], ending)}:
        ending |= more
    if not _ends(schema, ending):
        endless = min(targets.keys() - ending)
        raise MlxcelError(
            f"The schema is recursive without end at {endless}: an object of it requires another "
            "one of the same kind. Make that property optional, or allow null for it."
        )


def _ends(schema: Any, ending: set[str]) -> bool:
    """Tell whether some value of a schema is finite, if only these references are."""
    if not isinstance(schema, dict):
        return True
    if "$ref" in schema and schema["$ref"] not in ending:
        return False
    for union in ("anyOf", "oneOf"):
        if union in schema and not any(_ends(part, ending) for part in schema[union]):
            return False
    properties = schema.get("properties", {})
    needed = [properties.get(name) for name in schema.get("required", ())]
    needed += schema.get("allOf", ())
    needed += schema.get("prefixItems", ())[: schema.get("minItems", 0)]
    if schema.get("minItems", 0) > len(schema.get("prefixItems", ())):
        needed.append(schema.get("items"))
    return all(_ends(part, ending) for part in needed)
