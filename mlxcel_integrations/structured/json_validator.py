"""Validation by a JSON schema, in bounded time and from the schema alone.

``jsonschema`` fetches what references, identifiers and dialects name, and takes as long as a
schema demands. Here nothing is fetched: references are JSON pointers into the schema, and ``$id``
has no meaning. What would take too long ends in an error; see ``patterns`` for patterns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from fractions import Fraction
from itertools import islice
from typing import Any

import jsonschema
import referencing
from jsonschema import FormatChecker, ValidationError
from jsonschema.exceptions import UnknownType, best_match
from jsonschema.validators import create, validator_for
from referencing.exceptions import Unresolvable

from ..errors import MlxcelError
from ..protocol.json_schema import JsonSchema, pointer
from .formats import fits_format
from .patterns import FEW_STEPS, MOST_STATES, Pattern, backtracking, compiled, is_invalid, states
from .schema import SchemaMismatch

__all__ = ["JsonValidator"]

LEAST_STEPS = 100_000
"""Steps that any validation may take: less than a second."""

STEPS_PER_VALUE = 40
"""Further steps for each value within a value."""

MOST_STEPS = 1_000_000
"""Steps of the largest values: some seconds, far more than a plausible schema needs for them."""

MOST_OF_SCHEMA = 2000
"""Values within a schema for which there are further steps: more are not plausible in 64 KiB."""

PATTERN_STEPS = 20_000_000
"""Steps of the pattern engine in one validation: about half a second."""

COMPILE_STEPS = 500
"""Steps of the pattern engine that compiling one state takes as long as."""

MOST_BACKTRACKING = 1000
"""Characters of a pattern that Python's engine is asked to compile, which takes milliseconds."""

BY_SIZE = 16
"""Items that are looked at in the time of a step."""

COMPARED = 2
"""Values that are compared in the time of a step."""

MOST_ERRORS = 100
"""Errors among which the most telling one is chosen."""

CHARACTERS = 256
"""Characters of a message that are written in the time of a step."""

SIBLINGS_IGNORED = (
    *(jsonschema.Draft3Validator, jsonschema.Draft4Validator),
    *(jsonschema.Draft6Validator, jsonschema.Draft7Validator),
)
"""Dialects in which ``$ref`` stands alone."""


MALFORMED = (
    *(Unresolvable, UnknownType, AttributeError, LookupError),
    *(OverflowError, TypeError, ValueError),
)
"""What a validator raises for a part that is not a schema, as in definitions that its dialect does
not know."""


class OutOfSteps(Exception):
    """A validation takes too long."""


class _Budget:
    """What one validation may still spend."""

    def __init__(self, values: int) -> None:
        self._steps = min(LEAST_STEPS + STEPS_PER_VALUE * values, MOST_STEPS)
        self._pattern_steps = PATTERN_STEPS
        self._patterns: dict[str, Pattern | str] = {}

    def spend(self, steps: int) -> None:
        """Take steps.

        Raises:
            OutOfSteps: Too few are left.
        """
        self._steps -= steps
        if self._steps < 0:
            raise OutOfSteps

    def pattern(self, pattern: str) -> Pattern | str:
        """Return a compiled pattern, or the reason why it is left to the server."""
        if pattern not in self._patterns:
            size = states(pattern)
            if size > MOST_STATES or not self._affords(size * COMPILE_STEPS):
                return "size limit"
            self._patterns[pattern] = compiled(pattern)
        return self._patterns[pattern]

    def found(self, pattern: str, text: str) -> bool | None:
        """Tell whether a pattern is found in a text, None if that is left to the server."""
        self.spend(1)
        known = self.pattern(pattern)
        if isinstance(known, str):
            return self._found_by_backtracking(pattern, text)
        if not self._affords(known.states * len(text)):
            return None
        return known.matches(text)

    def _found_by_backtracking(self, pattern: str, text: str) -> bool | None:
        known = backtracking(pattern) if len(pattern) <= MOST_BACKTRACKING else None
        if known is None or (steps := known.steps(len(text))) > FEW_STEPS:
            return None
        return known.matches(text) if self._affords(int(steps)) else None

    def _affords(self, steps: int) -> bool:
        if steps > self._pattern_steps:
            return False
        self._pattern_steps -= steps
        return True


_budget: ContextVar[_Budget] = ContextVar("_budget")


class JsonValidator:
    """Validate values by a JSON schema.

    Raises:
        MlxcelError: The schema itself is invalid, or takes too long to check.
    """

    def __init__(self, schema: JsonSchema) -> None:
        dialect = _validator_class(schema)
        try:
            budget = _Budget(min(_count(schema), MOST_OF_SCHEMA))
            error = _first_error(_bounded(dialect, True), dialect.META_SCHEMA, schema, budget)
        except (OutOfSteps, RecursionError):
            raise MlxcelError(
                "The schema takes too long to check: use fewer or smaller schemas within it."
            ) from None
        if error is not None:
            raise MlxcelError(
                f"The schema is invalid at {pointer(error.absolute_path)}: {error.message:.200}."
            )
        self._schema, self._validator = schema, _bounded(dialect, False)

    def check(self, value: Any) -> None:
        """Check a value.

        Raises:
            SchemaMismatch: It does not fit, or that takes too long to find out.
        """
        try:
            budget = _Budget(_count(value))
            error = _first_error(self._validator, self._schema, value, budget)
        except OutOfSteps:
            raise SchemaMismatch((), "checking it takes too long with this schema") from None
        except RecursionError:
            raise SchemaMismatch((), "it is nested too deeply to check") from None
        except MALFORMED as failure:
            raise SchemaMismatch((), f"it cannot be checked by this schema: {failure}") from None
        if error is not None:
            raise SchemaMismatch(error.absolute_path, error.message)


def _first_error(validator: Any, schema: Any, value: Any, budget: _Budget) -> Any:
    """Return the most telling error of a value, None if it fits.

    Args:
        validator: A validator class that spends the budget.
        schema: The schema.
        value: The value.
        budget: What the validation may spend.

    Raises:
        OutOfSteps: No error has been found within the budget.
    """
    errors: list[ValidationError] = []
    token = _budget.set(budget)
    try:
        made = validator(schema, registry=referencing.Registry(), format_checker=_formats)
        for error in islice(made.iter_errors(value), MOST_ERRORS):
            errors.append(error)
    except OutOfSteps:
        if not errors:
            raise
    finally:
        _budget.reset(token)
    return best_match(errors)


def _count(value: Any) -> int:
    """Count the values within a value."""
    count, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        count += 1
        if isinstance(part, dict | list):
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return count


# --------------------------------------------------------------------------- dialects


def _validator_class(schema: JsonSchema) -> Any:
    """Return the validator class that ``$schema`` names, the newest for any other name."""
    newest = jsonschema.Draft202012Validator
    name = schema.get("$schema")
    try:
        return validator_for({"$schema": name} if isinstance(name, str) else {}, newest)
    except ValueError:  # it is no URL
        return newest


@functools.cache
def _bounded(dialect: Any, identified: bool) -> Any:
    """Return a validator class that spends the budget.

    Args:
        dialect: The validator class to bound.
        identified: Whether identifiers of schemas count, as in the schemas of schemas.
    """
    keywords = {
        name: COMPARING[name] if name in COMPARING else _counted(OWN.get(name, keyword))
        for name, keyword in dialect.VALIDATORS.items()
    }
    if not identified:
        keywords["format"] = _counted(_format)
    alone = dialect in SIBLINGS_IGNORED

    def applicable(schema: JsonSchema) -> Iterable[tuple[str, Any]]:
        _budget.get().spend(1 + len(schema) // BY_SIZE)
        return [("$ref", schema["$ref"])] if alone and "$ref" in schema else schema.items()

    made: Any = create(
        meta_schema=dialect.META_SCHEMA,
        validators=keywords,
        type_checker=dialect.TYPE_CHECKER,
        id_of=dialect.ID_OF if identified else _no_id,
        applicable_validators=applicable,
    )
    made.evolve = _evolve
    return made


def _no_id(schema: Any) -> None:
    return None


def _evolve(self: Any, **changes: Any) -> Any:
    """Return a validator of a part; unlike the original's, of the same class whatever it says."""
    fields = {
        "schema": self.schema,
        "registry": self._registry,
        "format_checker": self.format_checker,
        "_resolver": self._resolver,
    }
    return type(self)(**{**fields, **changes})


Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


def _counted(keyword: Keyword) -> Keyword:
    """Return a keyword that spends the budget."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        spend = _budget.get().spend
        spend(1 + (_size(value) + _size(instance)) // BY_SIZE)
        for error in keyword(validator, value, instance, schema) or ():
            if not error.relative_schema_path:  # its message, which quotes the value, is new
                spend(len(error.message) // CHARACTERS)
            yield error

    return check


def _size(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else 0


def _is_regex(value: object) -> bool:
    return not isinstance(value, str) or not is_invalid(value, _budget.get().pattern(value))


_formats = FormatChecker(())
_formats.checks("regex", raises=ValueError)(_is_regex)

# --------------------------------------------------------------------------- keywords


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and _budget.get().found(value, instance) is False:
        yield ValidationError(f"{instance!r} does not match {value!r}")


def _format(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str):
        _budget.get().spend(1 + len(instance) // CHARACTERS)
        if not fits_format(value, instance):
            yield ValidationError(f"{instance!r} is not a {value}")


def _pattern_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, part in value.items():
        for name, inner in instance.items():
            if _budget.get().found(pattern, name):
                yield from validator.descend(inner, part, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    found, patterns = _budget.get().found, schema.get("patternProperties", {})
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
    """Check what no other keyword has: properties of an object, or items of a list."""
    if isinstance(instance, dict):
        parts: Iterable[tuple[Any, Any]] = instance.items()
    elif isinstance(instance, list):
        parts = enumerate(instance)
    else:
        return
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
    _budget.get().spend(1 + _size(instance) // BY_SIZE)
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
        yield from (name for name in instance if _budget.get().found(pattern, name) is not False)


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
    texts = [_text(part) for part in instance]
    if len(set(texts)) < len(texts):
        yield ValidationError("it has equal items, which are not allowed")


def _text(value: Any) -> str:
    """Return a text that only equal values have, in which 1 and 1.0 are the same."""
    _budget.get().spend(1)
    if isinstance(value, dict):
        return "{" + ",".join(f"{name!r}:{_text(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
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
            _budget.get().spend(1 + len(value) // 256)
            if instance in value:
                return ()
        _budget.get().spend(1 + _count(value) // COMPARED)
        return keyword(validator, value, instance, schema)

    return check


OWN: dict[str, Keyword] = {
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

COMPARING = {
    name: _compared(jsonschema.Draft202012Validator.VALIDATORS[name]) for name in ("const", "enum")
}
"""Keywords that compare a value with others."""
