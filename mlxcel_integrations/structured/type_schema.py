"""Schemas of types and of dictionaries."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, overload

from ..errors import MlxcelError
from ..forks import fork_safe_lock
from ..protocol.schemas.json_schema import (
    JsonSchema,
    check_schema_size,
    compact,
    normalized,
    wrapped,
)
from ..protocol.schemas.references import check_references, is_object
from ..protocol.schemas.smallest_answer import check_satisfiable
from .schema import Schema, SchemaMismatch

__all__ = ["to_schema"]

T = TypeVar("T")

CACHED = 128
SCHEMA_KEYWORDS = {"type", "properties", "items", "prefixItems", "enum", "const"} | {
    *("$ref", "anyOf", "oneOf", "allOf"),
}
"""Keywords that most schemas have at their top."""

_making = fork_safe_lock()
"""Held while a schema is made, so that threads which need the same one make it once."""


@overload
def to_schema(output_type: type[T]) -> Schema[T]: ...
@overload
def to_schema(output_type: Any) -> Schema[Any]: ...
def to_schema(output_type: Any) -> Schema[Any]:
    """Return the schema of a type or of a dictionary.

    Args:
        output_type: A Pydantic class (of version 1, too), dataclass, ``TypedDict``, ``Enum``,
            ``Literal``, or any other type that Pydantic knows, such as lists, unions and
            optionals of these; or a JSON schema, an OpenAI function or tool,
            ``{"name", "schema"}``, or a whole ``response_format``, whose name may be missing.

    Raises:
        MlxcelError: No schema can be made from it, or no server accepts the schema.
    """
    if isinstance(output_type, Schema):
        return output_type
    if isinstance(output_type, Mapping):
        try:
            text = compact(output_type)
            with _making:
                return _from_json(text)
        except (TypeError, ValueError, RecursionError) as error:
            if isinstance(error, RecursionError):
                check_schema_size(output_type)  # names the place
            raise MlxcelError(f"The schema cannot be written as JSON: {error}.") from None
    if output_type is None or isinstance(output_type, str | int | float | list | tuple):
        raise _no_schema(output_type, "it is a value, not a type")
    if inspect.isroutine(output_type):  # Pydantic would call it with the answer
        raise _no_schema(output_type, "it is a function")
    try:
        with _making:
            return _from_type(output_type)
    except TypeError:  # it is unhashable
        return _from_type.__wrapped__(output_type)


def _no_schema(output_type: Any, reason: str) -> MlxcelError:
    return MlxcelError(
        f"No schema can be made from {output_type!r:.200}: {reason}. Pass a Pydantic model, a "
        "dataclass, a TypedDict, another type of data, or a JSON schema."
    )


def _new_schema(
    title: str, schema: JsonSchema, output_type: Any, read: Callable[[Any], Any]
) -> Schema[Any]:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", title).strip("_")[:64]
    inside = not is_object(schema)
    if inside:
        schema = wrapped(schema)
    check_schema_size(schema)
    check_references(schema)
    check_satisfiable(schema, name or "answer")
    return Schema(name or "answer", schema, inside, output_type, read)


# --------------------------------------------------------------------------- types


@functools.lru_cache(CACHED)
def _from_type(output_type: Any) -> Schema[Any]:
    title = output_type.__name__ if isinstance(output_type, type) else ""
    if any(map(is_pydantic_1, _parts(output_type))):
        schema, read = _by_pydantic_1(output_type, title)
    else:
        schema, read = _by_pydantic(output_type)
    return _new_schema(title, normalized(schema), output_type, read)


def _parts(output_type: Any) -> Iterator[Any]:
    """Yield a type and all types within it."""
    yield output_type
    for part in get_args(output_type):
        yield from _parts(part)


def _by_pydantic(output_type: Any) -> tuple[JsonSchema, Callable[[Any], Any]]:
    import pydantic
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema
    from pydantic_core import SchemaError

    class Generator(GenerateJsonSchema):
        """Silently leaves out defaults that are not JSON; a decimal is a number."""

        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

        def decimal_schema(self, schema: Any) -> JsonSchema:
            made = super().decimal_schema(schema)
            number: JsonSchema = made.get("anyOf", [made])[0]
            return number

    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(
            _with_typed_dicts_replaced(output_type)
        )
        schema = adapter.json_schema(schema_generator=Generator)
    except (PydanticUserError, PydanticUndefinedAnnotation, NameError) as error:
        # Pydantic's advice to allow arbitrary types would not help: they have no JSON schema.
        reason = str(error).splitlines()[0].partition(". Set ")[0]
        raise _no_schema(output_type, reason.rstrip(".")) from error
    except SchemaError as error:  # a pattern, for example, whose problem its last line tells
        reason = str(error).splitlines()[-1].strip().removeprefix("error: ")
        raise _no_schema(output_type, reason.rstrip(".")) from error

    def read(value: Any) -> Any:
        try:
            # As JSON, where a string may be a date, and a list may be a set.
            return adapter.validate_json(json.dumps(value))
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise SchemaMismatch(first["loc"], first["msg"]) from error

    return schema, read


def is_pydantic_1(output_type: Any) -> bool:
    """Return whether a type is a model class of Pydantic 1."""
    return "pydantic.v1.main" in _modules(output_type)


def belongs_to_pydantic_1(output_type: Any) -> bool:
    """Return whether a type is any class of Pydantic 1, such as a constrained number."""
    return any(module.startswith("pydantic.v1.") for module in _modules(output_type))


def _modules(output_type: Any) -> list[str]:
    """Return the modules of a class and of its bases, without importing Pydantic 1: it warns."""
    return [base.__module__ for base in getattr(output_type, "__mro__", ())]


def is_typed_dict(output_type: Any) -> bool:
    """Return whether a type is a ``TypedDict``, of ``typing`` or of ``typing_extensions``."""
    return type(output_type).__name__ == "_TypedDictMeta"


def _by_pydantic_1(output_type: Any, title: str) -> tuple[JsonSchema, Callable[[Any], Any]]:
    # The class exists, so Pydantic 1 is imported already, and this import does not warn again.
    from pydantic.v1 import ValidationError, parse_obj_as, schema_of

    def read(value: Any) -> Any:
        try:
            return parse_obj_as(output_type, value)
        except ValidationError as error:
            first = error.errors()[0]
            # The location begins with "__root__".
            raise SchemaMismatch(first["loc"][1:], first["msg"]) from error

    # Copied, since Pydantic caches the schema.
    schema = dict(schema_of(output_type, title=title or "answer"))
    if NoneType in get_args(output_type):  # Pydantic 1 leaves null out of the schema
        definitions = schema.pop("definitions")
        schema = {"anyOf": [schema, {"type": "null"}], "definitions": definitions}
    return schema, read


def _with_typed_dicts_replaced(output_type: Any, outer: tuple[Any, ...] = ()) -> Any:
    """Return a type with each ``typing.TypedDict`` in it replaced for Pydantic.

    Before Python 3.12, Pydantic only accepts those of ``typing_extensions``. Later, it warns of
    items that are read-only.
    """
    if is_typed_dict(output_type) and output_type not in outer:
        return _typed_dict(output_type, (*outer, output_type))
    args = get_args(output_type)
    ready = tuple(_with_typed_dicts_replaced(part, outer) for part in args)
    if ready == args:
        return output_type
    origin: Any = get_origin(output_type)
    if origin is Annotated:
        return Annotated[(ready[0], *output_type.__metadata__)]
    return (Union if origin is UnionType else origin)[ready]


def _typed_dict(output_type: Any, outer: tuple[Any, ...]) -> Any:
    import typing_extensions as ours

    read_only: Any = ours.ReadOnly
    qualifiers: tuple[Any, ...] = (ours.Required, ours.NotRequired, read_only)
    fields: dict[str, Any] = {}
    for name, hint in ours.get_type_hints(output_type, include_extras=True).items():
        need: Any = ours.Required if name in output_type.__required_keys__ else ours.NotRequired
        while (qualifier := get_origin(hint)) in qualifiers:
            need = need if qualifier is read_only else qualifier
            (hint,) = get_args(hint)
        fields[name] = need[_with_typed_dicts_replaced(hint, outer)]
    make: Any = ours.TypedDict
    result = make(output_type.__name__, fields)
    result.__doc__ = output_type.__doc__
    if hasattr(output_type, "__pydantic_config__"):
        result.__pydantic_config__ = output_type.__pydantic_config__
    return result


# --------------------------------------------------------------------------- dictionaries


@functools.lru_cache(CACHED)
def _from_json(text: str) -> Schema[Any]:
    title, description, schema = _unpacked(json.loads(text))
    if "properties" in schema and not schema.keys() & SCHEMA_KEYWORDS - {"properties"}:
        schema = {"type": "object", **schema}
    if description:
        schema.setdefault("description", description)
    check_schema_size(schema)  # first, since the rest recurses as deep as the schema
    return _new_schema(title, schema, json.loads(text), _by_json_schema(schema))


def _unpacked(given: dict[str, Any]) -> tuple[str, str, JsonSchema]:
    """Return the name, the description and the schema that a dictionary holds."""
    form = given.get("type")
    if form in ("function", "json_schema"):
        given = given.get(form, given)
    if isinstance(given, dict) and isinstance(given.get("name"), str):
        schema = given.get("schema", given.get("parameters"))
        title, description = given["name"], given.get("description") or ""
        schema = schema or {"type": "object", "properties": {}, "additionalProperties": False}
    elif (
        form == "json_schema" and isinstance(given, dict) and isinstance(given.get("schema"), dict)
    ):
        # mlxcel and llama.cpp need no name, and llama.cpp takes the schema without its wrapping.
        schema, description = given["schema"], given.get("description") or ""
        title = str(schema.get("title", ""))
    else:
        schema, description = given, ""
        title = str(schema.get("title", "")) if isinstance(schema, dict) else ""
    if form == "json_object" or not (isinstance(schema, dict) and _restricts_anything(schema)):
        keywords = ", ".join(sorted(SCHEMA_KEYWORDS))
        raise MlxcelError(
            f"{given!r:.200} is not a JSON schema: it has no keyword such as {keywords}."
            ' Pass one such as {"type": "object", "properties": {"name": {"type": "string"}}}.'
        )
    return title, description, schema


def _restricts_anything(schema: JsonSchema) -> bool:
    """Return whether a schema has a keyword that allows or forbids anything."""
    if schema.keys() & SCHEMA_KEYWORDS:
        return True
    from .json_validator import keywords_of_dialect

    return not schema.keys().isdisjoint(keywords_of_dialect(schema))


def _by_json_schema(schema: JsonSchema) -> Callable[[Any], Any]:
    from .json_validator import JsonValidator

    validator = JsonValidator(schema)

    def read(value: Any) -> Any:
        validator.check(value)
        return value

    return read
