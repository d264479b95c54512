"""Validation by a JSON schema, in bounded time and from the schema alone.

``jsonschema`` fetches what references, identifiers and dialects name, and takes as long as a
schema demands. Here nothing is fetched: references are JSON pointers into the schema, and ``$id``
has no meaning. What would take too long ends in an error; see ``patterns`` for patterns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import jsonschema
import referencing
from jsonschema import FormatChecker, ValidationError
from jsonschema.exceptions import UnknownType, best_match
from jsonschema.validators import create, validator_for
from referencing.exceptions import Unresolvable

from ..errors import MlxcelError, StructuredOutputError
from ..protocol.schemas.json_schema import JsonSchema, pointer, schema_in
from ..protocol.schemas.references import target
from .budget import Budget, OutOfSteps, count_values, current_budget, spend
from .json_keywords import (
    COMPARING_KEYWORDS,
    ITEMS_PER_STEP,
    REPLACED_KEYWORDS,
    check_format,
    counted,
)
from .patterns import is_invalid
from .schema import Schema, SchemaMismatch

__all__ = ["JsonValidator", "check_answer", "keywords_of_dialect"]

MAX_SCHEMA_VALUES = 2000
"""Most values within a schema that add steps to the budget: no plausible schema has more."""

MAX_ERRORS = 100
"""Errors among which the most telling one is chosen."""

SIBLINGS_IGNORED = (
    *(jsonschema.Draft3Validator, jsonschema.Draft4Validator),
    *(jsonschema.Draft6Validator, jsonschema.Draft7Validator),
)
"""Dialects in which ``$ref`` stands alone."""


MALFORMED_SCHEMA_ERRORS = (
    *(Unresolvable, UnknownType, AttributeError, LookupError),
    *(OverflowError, TypeError, ValueError),
)
"""What a validator raises for a part that is not a schema, as in definitions that its dialect does
not know."""


class JsonValidator:
    """Validate values by a JSON schema.

    Raises:
        MlxcelError: The schema itself is invalid, or takes too long to check.
    """

    def __init__(self, schema: JsonSchema) -> None:
        dialect = _validator_class(schema)
        try:
            budget = Budget(count_values(schema, MAX_SCHEMA_VALUES))
            error = _first_error(partial(_of_schemas, dialect), schema, budget)
        except (OutOfSteps, RecursionError):
            raise MlxcelError(
                "The schema takes too long to check: use fewer or smaller schemas within it."
            ) from None
        if error is not None:
            raise MlxcelError(
                f"The schema is invalid at {pointer(error.absolute_path)}: {error.message:.200}."
            )
        self._make = partial(_bounded(dialect, False), schema, _resolver=_Pointers(schema))

    def check(self, value: Any) -> None:
        """Check a value.

        Raises:
            SchemaMismatch: It does not fit, or checking it takes too long.
        """
        try:
            budget = Budget(count_values(value))
            error = _first_error(self._make, value, budget)
        except OutOfSteps:
            raise SchemaMismatch((), "checking it takes too long with this schema") from None
        except RecursionError:
            raise SchemaMismatch((), "it is nested too deeply to check") from None
        except MALFORMED_SCHEMA_ERRORS as failure:
            raise SchemaMismatch((), f"it cannot be checked by this schema: {failure}") from None
        if error is not None:
            raise SchemaMismatch(error.absolute_path, error.message)


def check_answer(response_format: Any, text: str, finish_reason: str) -> None:
    """Check an answer by the ``response_format`` that was sent with its request.

    A schema that cannot be checked was compiled by the server, which is trusted to keep to it.

    Raises:
        StructuredOutputError: The answer does not fit.
    """
    schema = schema_in(response_format)
    if schema is None:
        return
    try:
        check = JsonValidator(schema).check
    except MlxcelError:
        return
    name = response_format["json_schema"].get("name") or "answer"
    try:
        Schema(name, schema, False, schema, check).validate(text, finish_reason)
    except StructuredOutputError as error:
        error.problem = None  # its text was passed on as it came, so it is not asked for again
        raise


def _of_schemas(dialect: Any) -> Any:
    """Return a validator of schemas: those of the dialect refer to each other by identifiers."""
    return _bounded(dialect, True)(
        dialect.META_SCHEMA, registry=referencing.Registry(), format_checker=_formats
    )


class _Resolved(NamedTuple):
    """A part of a schema that a reference points to, and the resolver of references in it."""

    contents: Any
    resolver: _Pointers


class _Pointers:
    """Resolves references as JSON pointers into one schema.

    The resolver of ``jsonschema`` ends in a panic of its Rust code when a recursion is too deep.
    """

    def __init__(self, schema: JsonSchema) -> None:
        self._schema = schema

    def lookup(self, reference: str) -> _Resolved:
        """Return the part of the schema that a reference points to.

        Raises:
            Unresolvable: There is no such part.
        """
        is_pointer = reference == "#" or reference.startswith("#/")
        found = target(self._schema, reference) if is_pointer else None
        if not isinstance(found, dict | bool):
            raise Unresolvable(ref=reference)
        return _Resolved(found, self)

    def in_subresource(self, _: Any) -> _Pointers:
        """Return the resolver for a part of the schema, whose identifier has no meaning."""
        return self


def _first_error(make: Callable[[], Any], value: Any, budget: Budget) -> Any:
    """Return the most telling error of a value, None if it fits.

    Args:
        make: Makes a validator that spends the budget, from the beginning.
        value: The value.
        budget: What the validation may spend.

    Raises:
        OutOfSteps: No error has been found within the budget.
    """
    errors: list[ValidationError] = []
    token = current_budget.set(budget)
    try:
        for error in islice(make().iter_errors(value), MAX_ERRORS):
            errors.append(error)
    except OutOfSteps:
        if not errors:
            raise
    finally:
        current_budget.reset(token)
    return best_match(errors)


# --------------------------------------------------------------------------- dialects


def keywords_of_dialect(schema: JsonSchema) -> Collection[str]:
    """Return the keywords that allow or forbid something in the dialect of a schema."""
    keywords: dict[str, Any] = _validator_class(schema).VALIDATORS
    return keywords.keys()


def _validator_class(schema: JsonSchema) -> Any:
    """Return the validator class that ``$schema`` names, the newest for any other name."""
    newest = jsonschema.Draft202012Validator
    name = schema.get("$schema")
    try:
        return validator_for({"$schema": name} if isinstance(name, str) else {}, newest)
    except ValueError:  # it is no URL
        return newest


@functools.cache
def _bounded(dialect: Any, of_schemas: bool) -> Any:
    """Return a validator class that spends the budget.

    Args:
        dialect: The validator class to bound.
        of_schemas: Whether it validates schemas, whose formats are checked differently.
    """
    keywords = {
        name: COMPARING_KEYWORDS[name]
        if name in COMPARING_KEYWORDS
        else counted(REPLACED_KEYWORDS.get(name, keyword))
        for name, keyword in dialect.VALIDATORS.items()
    }
    if not of_schemas:
        keywords["format"] = counted(check_format)
    alone = dialect in SIBLINGS_IGNORED

    def applicable(schema: JsonSchema) -> Iterable[tuple[str, Any]]:
        spend(1 + len(schema) // ITEMS_PER_STEP)
        return [("$ref", schema["$ref"])] if alone and "$ref" in schema else schema.items()

    made: Any = create(
        meta_schema=dialect.META_SCHEMA,
        validators=keywords,
        type_checker=dialect.TYPE_CHECKER,
        id_of=dialect.ID_OF,
        applicable_validators=applicable,
    )
    made.evolve = _evolve
    return made


def _evolve(self: Any, **changes: Any) -> Any:
    """Return a validator of a part; unlike the original's, always of the same class."""
    fields = {
        "schema": self.schema,
        "registry": self._registry,
        "format_checker": self.format_checker,
        "_resolver": self._resolver,
    }
    return type(self)(**{**fields, **changes})


def _is_regex(value: object) -> bool:
    return not isinstance(value, str) or not is_invalid(value, current_budget.get().pattern(value))


_formats = FormatChecker(())
_formats.checks("regex", raises=ValueError)(_is_regex)
