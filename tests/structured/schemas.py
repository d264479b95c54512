"""Random JSON schemas within what every engine can constrain, and values that fit them."""

from __future__ import annotations

import warnings
from typing import Any

from hypothesis import strategies as st

with warnings.catch_warnings():
    # Pydantic 1 warns on Python 3.14 and later.
    warnings.simplefilter("ignore")
    from pydantic import v1

__all__ = ["JSON", "schemas", "v1"]

Json = dict[str, Any]

NAMES = st.sampled_from(["name", "city", "a b", "größe", "x-1", "value", "items", "$id2", "type"])


INTEGERS = st.tuples(st.integers(-1000, 1000), st.integers(0, 1000)).map(
    lambda p: {"type": "integer", "minimum": p[0], "maximum": p[0] + p[1]}
)
STRINGS = st.tuples(st.integers(0, 3), st.integers(0, 8)).map(
    lambda p: {"type": "string", "minLength": p[0], "maxLength": p[0] + p[1]}
)
CHOICES = st.lists(
    st.text('abc "\\/é日\n', max_size=6) | st.integers(-99, 99) | st.none() | st.booleans(),
    min_size=1,
    max_size=4,
    unique_by=repr,
).map(lambda values: {"enum": values})
LEAVES = st.one_of(
    STRINGS,
    CHOICES,
    INTEGERS,
    # llama.cpp knows no bounds of numbers that are no integers.
    st.sampled_from(["number", "boolean", "null"]).map(lambda name: {"type": name}),
    st.just({"const": "fixed"}),
    st.sampled_from(["date", "time", "date-time", "uuid"]).map(
        lambda name: {"type": "string", "format": name}
    ),
)


def arrays(items: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.tuples(items, st.integers(0, 2), st.integers(0, 2)).map(
        lambda p: {"type": "array", "items": p[0], "minItems": p[1], "maxItems": p[1] + p[2]}
    )


def tuples(items: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.lists(items, min_size=1, max_size=3).map(
        lambda parts: {
            "type": "array",
            "prefixItems": parts,
            "minItems": len(parts),
            "maxItems": len(parts),
        }
    )


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[Json]) -> Json:
    properties = draw(st.dictionaries(NAMES, values, min_size=1, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    closed = {"additionalProperties": False, "required": required}
    return {"type": "object", "properties": properties, **closed}


def unions(members: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.lists(members, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts})


def composed(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return arrays(inner) | tuples(inner) | objects(inner) | unions(inner)


PLAIN = st.recursive(LEAVES, composed, max_leaves=6)


@st.composite
def schemas(draw: st.DrawFn) -> Json:
    """Schemas, some with references, some of which are recursive with an end."""
    schema = draw(PLAIN)
    shape = draw(st.sampled_from(["plain", "reference", "recursive"]))
    if shape == "plain":
        return schema
    if shape == "reference":
        return {
            "type": "array",
            "items": {"$ref": "#/$defs/A"},
            "maxItems": 2,
            "$defs": {"A": schema},
        }
    node = {
        "type": "object",
        "properties": {"a": schema, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/N"}]}},
        "required": ["a", "next"],
        "additionalProperties": False,
    }
    return {"$ref": "#/$defs/N", "$defs": {"N": node}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
