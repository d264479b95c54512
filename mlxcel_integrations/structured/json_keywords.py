"""Keywords of JSON schemas, each of which spends the budget of its validation.

In ``jsonschema``, some take more time than their budget, or fail with large numbers: these are
replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import jsonschema
from jsonschema import ValidationError

from .budget import MAX_STEPS, count_values, current_budget, spend
from .formats import fits_format

__all__ = [
    "COMPARING_KEYWORDS",
    "ITEMS_PER_STEP",
    "REPLACED_KEYWORDS",
    "Keyword",
    "check_format",
    "counted",
]

ITEMS_PER_STEP = 16
"""Items that are looked at in the time of one step."""

COMPARISONS_PER_STEP = 2
"""Values that are compared in the time of a step."""

CHARACTERS_PER_STEP = 256
"""Characters of a message that are written in the time of a step."""

Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


def counted(keyword: Keyword) -> Keyword:
    """Return a keyword that spends the budget."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        spend(1 + (_size(value) + _size(instance)) // ITEMS_PER_STEP)
        for error in keyword(validator, value, instance, schema) or ():
            if not error.relative_schema_path:  # its message, which quotes the value, is new
                spend(len(error.message) // CHARACTERS_PER_STEP)
            yield error

    return check


def _size(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else 0


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and current_budget.get().found(value, instance) is False:
        yield ValidationError(f"{instance!r} does not match {value!r}")


def check_format(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    """Check a text by the format that the schema names."""
    if isinstance(instance, str):
        spend(1 + len(instance) // CHARACTERS_PER_STEP)
        if not fits_format(value, instance):
            yield ValidationError(f"{instance!r} is not a {value}")


def _pattern_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, part in value.items():
        for name, inner in instance.items():
            if current_budget.get().found(pattern, name):
                yield from validator.descend(inner, part, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    found, patterns = current_budget.get().found, schema.get("patternProperties", {})
    extras = [
        name
        for name in instance
        if name not in schema.get("properties", {})
        and not any(found(pattern, name) is not False for pattern in patterns)
    ]
    if isinstance(value, dict):
        for name in extras:
            yield from validator.descend(instance[name], value, path=name)
    elif not value and extras:
        yield _unexpected("Additional properties", extras)


def _unevaluated(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    """Check what no other keyword has checked: properties of an object, or items of a list."""
    parts = instance.items() if isinstance(instance, dict) else enumerate(instance)
    known = _evaluated(validator, instance, schema, top=True)
    wrong = [
        key
        for key, part in parts
        if key not in known and any(True for _ in validator.descend(part, value))
    ]
    if wrong:
        yield _unexpected("Unevaluated parts", wrong)


def _unevaluated_of(kind: type) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, kind):
            yield from _unevaluated(validator, value, instance, schema)

    return check


def _unexpected(what: str, keys: list[Any]) -> ValidationError:
    names = ", ".join(map(repr, keys[:20]))
    return ValidationError(f"{what} are not allowed ({names} unexpected)")


def _evaluated(validator: Any, instance: Any, schema: Any, top: bool = False) -> set[Any]:
    """Return the names of the properties, or the indices of the items, that a schema checks."""
    spend(1 + _size(instance) // ITEMS_PER_STEP)
    if not isinstance(schema, dict):
        return set()
    own = _own_properties if isinstance(instance, dict) else _own_items
    found = set(own(validator, instance, schema, top))
    for part in _applied(validator, instance, schema):
        found |= _evaluated(validator, instance, part)
    return found


def _own_properties(validator: Any, instance: Any, schema: Any, top: bool) -> Iterator[str]:
    if "additionalProperties" in schema or (not top and "unevaluatedProperties" in schema):
        yield from instance
        return
    yield from schema.get("properties", {}).keys() & instance.keys()
    for pattern in schema.get("patternProperties", {}):
        yield from (
            name for name in instance if current_budget.get().found(pattern, name) is not False
        )


def _own_items(validator: Any, instance: Any, schema: Any, top: bool) -> Iterator[int]:
    items = schema.get("items")
    if (
        (items is not None and not isinstance(items, list))
        or "additionalItems" in schema
        or (not top and "unevaluatedItems" in schema)
    ):
        yield from range(len(instance))
        return
    yield from range(len(items or schema.get("prefixItems", ())))
    if "contains" in schema:
        contained = validator.evolve(schema=schema["contains"])
        yield from (index for index, part in enumerate(instance) if contained.is_valid(part))


def _applied(validator: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """Yield the schemas that apply to the same value as a schema that contains them."""
    if "$ref" in schema:
        yield validator._resolver.lookup(schema["$ref"]).contents

    def fits(part: Any) -> bool:
        return bool(validator.evolve(schema=part).is_valid(instance))

    yield from schema.get("allOf", ())
    for keyword in ("anyOf", "oneOf"):
        yield from filter(fits, schema.get(keyword, ()))
    if "if" in schema:
        if fits(schema["if"]):
            yield schema["if"]
            yield schema.get("then", True)
        else:
            yield schema.get("else", True)
    if isinstance(instance, dict):
        for name, part in schema.get("dependentSchemas", {}).items():
            if name in instance:
                yield part


def _unique_items(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not value or not isinstance(instance, list):
        return
    texts = [_canonical_text(part) for part in instance]
    if len(set(texts)) < len(texts):
        yield ValidationError("it has duplicate items")


def _canonical_text(value: Any) -> str:
    """Return a text that only equal values have, in which 1 and 1.0 are the same."""
    spend(1)
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{name!r}:{_canonical_text(value[name])}" for name in sorted(value))
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical_text, value)) + "]"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def _multiple_of(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "number"):
        return
    try:
        if isinstance(value, float):
            fits = int(instance / value) == instance / value
        else:
            fits = not instance % value
    except OverflowError:  # a number too large for a float
        fits = (Fraction(instance) / Fraction(value)).denominator == 1
    if not fits:
        yield ValidationError(f"{instance!r} is not a multiple of {value}")


def _compared(keyword: Keyword) -> Keyword:
    """Return a keyword that spends the budget for the values that it compares."""

    def check(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterable[ValidationError] | None:
        if isinstance(instance, str) and isinstance(value, list):
            # Compared by Python itself, which is 20 times as fast.
            spend(1 + len(value) // 256)
            if instance in value:
                return ()
        most = COMPARISONS_PER_STEP * MAX_STEPS
        spend(1 + count_values(value, most) // COMPARISONS_PER_STEP)
        return keyword(validator, value, instance, schema)

    return check


REPLACED_KEYWORDS: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "unevaluatedItems": _unevaluated_of(list),
    "unevaluatedProperties": _unevaluated_of(dict),
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
    "divisibleBy": _multiple_of,
}
"""Keywords whose usual form takes more time than its budget, or fails with large numbers."""

COMPARING_KEYWORDS = {
    name: _compared(jsonschema.Draft202012Validator.VALIDATORS[name]) for name in ("const", "enum")
}
"""Keywords that compare a value with others."""
