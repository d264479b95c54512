"""Partial objects from partial JSON."""

from __future__ import annotations

import collections.abc as abc
import contextlib
import dataclasses
import enum
import json
from collections.abc import Callable
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from .partial_json import MISSING
from .type_schema import belongs_to_pydantic_1, is_pydantic_1, is_typed_dict

if TYPE_CHECKING:
    import pydantic.fields

__all__ = ["partial_objects"]

Build = Callable[[Any, bool], Any]
"""Builds an object from a JSON value; the flag says whether the value may still grow.

Returns ``MISSING`` if it is too early, and raises ``CannotFit`` if it will never be possible."""


class CannotFit(Exception):
    """A JSON value does not fit a type, however it continues."""


LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    abc.Sequence: list,
    abc.MutableSequence: list,
}
DICTS = (dict, abc.Mapping, abc.MutableMapping)


def partial_objects(output_type: Any) -> Callable[[Any], Any]:
    """Return a function that makes objects of a type from values of ``IncrementalJSON``.

    Fields that have not come are None, or the default of their class. Validators of classes do
    not run, but each complete value has the type of its field. The function returns ``MISSING``
    as long as no object can be made.
    """
    build = _Builders().of(output_type)

    def make(value: Any) -> Any:
        try:
            return build(value, True)
        except CannotFit:
            return MISSING

    return make


class _Builders:
    """Makes the functions that build objects of a type, one for each class.

    A JSON value that has stopped growing is the same object in all later values: it is built once.
    """

    def __init__(self) -> None:
        self._by_class: dict[Any, Build] = {}

    def of(self, output_type: Any) -> Build:
        origin, args = get_origin(output_type), get_args(output_type)
        if origin is Annotated:
            return self.of(args[0])
        if origin in (Union, UnionType):
            return _first_fitting([self.of(part) for part in args])
        if origin in LISTS and args:
            return _built_once(_list(self.of(args[0]), LISTS[origin]))
        if origin in DICTS and args:
            return _built_once(_dict(self.of(args[1])))
        return self._of_class(output_type) if isinstance(output_type, type) else _leaf(output_type)

    def _of_class(self, output_type: type) -> Build:
        if output_type in self._by_class:
            return self._by_class[output_type]
        fields = _fields(output_type)
        if fields is None:
            return _leaf(output_type)
        builders: dict[str, tuple[str, Build]] = {}
        # Stored before its fields are known, since a class may contain itself.
        self._by_class[output_type] = build = _built_once(_object(builders, _maker(output_type)))
        builders.update({name: (to, self.of(hint)) for name, (to, hint) in fields.items()})
        return build


def _fields(output_type: Any) -> dict[str, tuple[str, Any]] | None:
    """Return the names and types of fields by their names in JSON; None for other types."""
    import pydantic

    if is_pydantic_1(output_type):
        return {
            each.alias: (name, _pydantic_1_hint(each))
            for name, each in output_type.__fields__.items()
        }
    if issubclass(output_type, pydantic.BaseModel) and not output_type.__pydantic_root_model__:
        return {
            _alias(name, each): (name, each.annotation)
            for name, each in _pydantic_2_fields(output_type).items()
        }
    if not is_typed_dict(output_type) and not dataclasses.is_dataclass(output_type):
        return None
    defaults = _defaults(output_type) if dataclasses.is_dataclass(output_type) else {}
    try:
        hints = get_type_hints(output_type)
    except NameError:  # a hint names a class within a function
        return None
    return {_alias(name, defaults.get(name)): (name, hint) for name, hint in hints.items()}


def _pydantic_1_hint(field: Any) -> Any:
    # Pydantic 1 keeps null out of the type of a field.
    return field.outer_type_ | None if field.allow_none else field.outer_type_


def _defaults(output_type: Any) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(output_type)}


def _pydantic_2_fields(output_type: Any) -> dict[str, pydantic.fields.FieldInfo]:
    fields: dict[str, pydantic.fields.FieldInfo] = output_type.model_fields
    return fields


def _alias(name: str, field: Any) -> str:
    alias = getattr(field, "validation_alias", None)
    return alias if isinstance(alias, str) else name


def _maker(output_type: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a function that makes an object of a class from some of its fields."""
    if is_typed_dict(output_type):
        return dict
    if dataclasses.is_dataclass(output_type):
        return lambda values: _new_dataclass(output_type, values)
    if is_pydantic_1(output_type):
        empty = {name: field.get_default() for name, field in output_type.__fields__.items()}
        return lambda values: output_type.construct(set(values), **{**empty, **values})
    fields = _pydantic_2_fields(output_type)
    required = {_alias(name, each): None for name, each in fields.items() if each.is_required()}

    def make(values: dict[str, Any]) -> Any:
        named = {_alias(name, fields[name]): value for name, value in values.items()}
        return output_type.model_construct(set(values), **{**required, **named})

    return make


def _new_dataclass(output_type: Any, values: dict[str, Any]) -> Any:
    """Make an object of a dataclass, which may be frozen, without its own code."""
    made = object.__new__(output_type)
    for field in dataclasses.fields(output_type):
        value = values[field.name] if field.name in values else _default(field)
        object.__setattr__(made, field.name, value)
    return made


def _default(field: dataclasses.Field[Any]) -> Any:
    from pydantic.fields import FieldInfo

    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if isinstance(field.default, FieldInfo):
        default = field.default
        return None if default.is_required() else default.get_default(call_default_factory=True)
    return None if field.default is dataclasses.MISSING else field.default


def _object(fields: dict[str, tuple[str, Build]], make: Callable[[dict[str, Any]], Any]) -> Build:
    def build(value: Any, growing: bool) -> Any:
        if not isinstance(value, dict):
            raise CannotFit
        last = next(reversed(value), None) if growing else None
        made = {
            fields[key][0]: fields[key][1](part, key == last)
            for key, part in value.items()
            if key in fields
        }
        return make(_present(made))

    return build


def _dict(item: Build) -> Build:
    def build(value: Any, growing: bool) -> Any:
        if not isinstance(value, dict):
            raise CannotFit
        last = next(reversed(value), None) if growing else None
        made = {key: item(part, key == last) for key, part in value.items()}
        return _present(made)

    return build


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not MISSING}


def _list(item: Build, make: Callable[[list[Any]], Any]) -> Build:
    # Complete parts of the list that grows now, and what was built of them.
    known: list[Any] = []
    items: list[Any] = []

    def build(value: Any, growing: bool) -> Any:
        if not isinstance(value, list):
            raise CannotFit
        if not growing:
            return make(_build_each(item, value, False))
        # Comparing is fast, since the parts are the same objects.
        if len(known) >= len(value) or known != value[: len(known)]:
            known.clear()
            items.clear()
        complete, last = value[len(known) : -1], value[-1:]
        items.extend(_build_each(item, complete, False))
        known.extend(complete)
        # Copied first: the last item of a recursive type may change these lists.
        return make([*items, *_build_each(item, last, True)])

    return build


def _build_each(item: Build, parts: list[Any], growing: bool) -> list[Any]:
    """Build the parts for which it is not too early."""
    return [made for part in parts if (made := item(part, growing)) is not MISSING]


def _first_fitting(members: list[Build]) -> Build:
    """Build by the first type of a union that fits the value."""

    def build(value: Any, growing: bool) -> Any:
        for member in members:
            with contextlib.suppress(CannotFit):
                return member(value, growing)
        raise CannotFit

    return build


def _built_once(build: Build) -> Build:
    known: dict[int, tuple[Any, Any]] = {}

    def build_once(value: Any, growing: bool) -> Any:
        if growing:
            return build(value, True)
        found = known.get(id(value))
        if found is None:
            # Kept with its result: as long as it lives, no other object has its id.
            found = known[id(value)] = value, build(value, False)
        return found[1]

    return build_once


def _leaf(output_type: Any) -> Build:
    if output_type is Any:
        return lambda value, growing: value
    if output_type in (str, int, bool):
        return lambda value, growing: _checked_type(output_type, value)
    read = _leaf_reader(output_type)
    if read is None:
        return lambda value, growing: MISSING
    choices = [choice for choice in _literal_choices(output_type) if isinstance(choice, str)]

    def build(value: Any, growing: bool) -> Any:
        try:
            return read(value)
        except ValueError:
            if growing and (not choices or _may_become(value, choices)):
                return MISSING
            raise CannotFit from None

    return build


def _leaf_reader(output_type: Any) -> Callable[[Any], Any] | None:
    """Return a function that reads complete JSON values of a type; None if it has to wait."""
    if belongs_to_pydantic_1(output_type):
        from pydantic.v1 import parse_obj_as

        return lambda value: parse_obj_as(output_type, value)
    import pydantic
    from pydantic.errors import PydanticUserError

    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(output_type)
        # Built now if Pydantic has deferred it.
        adapter.rebuild()
    except (PydanticUserError, NameError):
        # It names a class within a function, which only the class around it can resolve.
        return None
    return lambda value: adapter.validate_json(json.dumps(value))


def _checked_type(output_type: type, value: Any) -> Any:
    if type(value) is not output_type:
        raise CannotFit
    return value


def _may_become(value: Any, choices: list[str]) -> bool:
    return isinstance(value, str) and any(choice.startswith(value) for choice in choices)


def _literal_choices(output_type: Any) -> list[Any]:
    if isinstance(output_type, type) and issubclass(output_type, enum.Enum):
        return [member.value for member in output_type]
    return list(get_args(output_type)) if get_origin(output_type) is Literal else []
