"""Objects of a type from what has come of their JSON so far."""

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
from .type_schema import is_pydantic_1, is_typed_dict

if TYPE_CHECKING:
    import pydantic.fields

__all__ = ["partial_objects"]

Build = Callable[[Any, bool], Any]
"""Makes an object of JSON that is complete or may still grow.

Returns ``MISSING`` if it is too early for one, and raises ``Never`` if there will be none."""


class Never(Exception):
    """JSON does not fit a type, however it goes on."""


LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    abc.Sequence: list,
    abc.MutableSequence: list,
}
DICTS = (dict, abc.Mapping, abc.MutableMapping)


def partial_objects(kind: Any) -> Callable[[Any], Any]:
    """Return what makes objects of a type from the growing values of ``IncrementalJSON``.

    Fields that have not come are None, or what their class has as default. No validator of a
    class runs, but each value that is complete has the type of its field. ``MISSING`` stands for
    what cannot be made yet.
    """
    build = _Builders().of(kind)

    def make(value: Any) -> Any:
        try:
            return build(value, True)
        except Never:
            return MISSING

    return make


class _Builders:
    """Functions that make objects of a type from JSON that may still grow.

    What has stopped growing is the same JSON object in all later values: it is built once.
    """

    def __init__(self) -> None:
        self._by_class: dict[Any, Build] = {}

    def of(self, kind: Any) -> Build:
        origin, args = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self.of(args[0])
        if origin in (Union, UnionType):
            return _first([self.of(part) for part in args])
        if origin in LISTS and args:
            return _once(_list(self.of(args[0]), LISTS[origin]))
        if origin in DICTS and args:
            return _once(_dict(self.of(args[1])))
        return self._of_class(kind) if isinstance(kind, type) else _leaf(kind)

    def _of_class(self, kind: type) -> Build:
        if kind in self._by_class:
            return self._by_class[kind]
        fields = _fields(kind)
        if fields is None:
            return _leaf(kind)
        builders: dict[str, tuple[str, Build]] = {}
        # Known before its fields are, since a class may contain itself.
        self._by_class[kind] = build = _once(_object(builders, _maker(kind)))
        builders.update({name: (to, self.of(hint)) for name, (to, hint) in fields.items()})
        return build


def _fields(kind: Any) -> dict[str, tuple[str, Any]] | None:
    """Return, by the names in JSON, the names and types of the fields of a class."""
    import pydantic

    if is_pydantic_1(kind):
        return {each.alias: (name, _hint_of_1(each)) for name, each in kind.__fields__.items()}
    if issubclass(kind, pydantic.BaseModel) and not kind.__pydantic_root_model__:
        return {_alias(name, each): (name, each.annotation) for name, each in _of_2(kind).items()}
    if not is_typed_dict(kind) and not dataclasses.is_dataclass(kind):
        return None
    defaults = _defaults(kind) if dataclasses.is_dataclass(kind) else {}
    try:
        hints = get_type_hints(kind)
    except NameError:  # of a class within a function
        return None
    return {_alias(name, defaults.get(name)): (name, hint) for name, hint in hints.items()}


def _hint_of_1(field: Any) -> Any:
    # Which says apart from its type that it may be null.
    return field.outer_type_ | None if field.allow_none else field.outer_type_


def _defaults(kind: Any) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _of_2(kind: Any) -> dict[str, pydantic.fields.FieldInfo]:
    fields: dict[str, pydantic.fields.FieldInfo] = kind.model_fields
    return fields


def _alias(name: str, field: Any) -> str:
    alias = getattr(field, "validation_alias", None)
    return alias if isinstance(alias, str) else name


def _maker(kind: Any) -> Callable[[dict[str, Any]], Any]:
    """Return what makes an object of a class from some of its fields."""
    if is_typed_dict(kind):
        return dict
    if dataclasses.is_dataclass(kind):
        return lambda values: _made(kind, values)
    if is_pydantic_1(kind):
        empty = {name: field.get_default() for name, field in kind.__fields__.items()}
        return lambda values: kind.construct(set(values), **{**empty, **values})
    fields = _of_2(kind)
    required = {_alias(name, each): None for name, each in fields.items() if each.is_required()}

    def make(values: dict[str, Any]) -> Any:
        named = {_alias(name, fields[name]): value for name, value in values.items()}
        return kind.model_construct(set(values), **{**required, **named})

    return make


def _made(kind: Any, values: dict[str, Any]) -> Any:
    """Make an object of a dataclass, which may be frozen, without its own code."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
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
            raise Never
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
            raise Never
        last = next(reversed(value), None) if growing else None
        made = {key: item(part, key == last) for key, part in value.items()}
        return _present(made)

    return build


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not MISSING}


def _list(item: Build, make: Callable[[list[Any]], Any]) -> Build:
    # What the list that is growing now had when it was last seen.
    known: list[Any] = []
    items: list[Any] = []

    def build(value: Any, growing: bool) -> Any:
        if not isinstance(value, list):
            raise Never
        if not growing:
            return make(_each(item, value, False))
        # Comparing is fast, since what is the same is equal.
        if len(known) >= len(value) or known != value[: len(known)]:
            known.clear()
            items.clear()
        complete, last = value[len(known) : -1], value[-1:]
        items.extend(_each(item, complete, False))
        known.extend(complete)
        # Copied first: the last one of a recursive type may hold such a list itself.
        return make([*items, *_each(item, last, True)])

    return build


def _each(item: Build, parts: list[Any], growing: bool) -> list[Any]:
    """Build those of some parts that can be made."""
    return [made for part in parts if (made := item(part, growing)) is not MISSING]


def _first(members: list[Build]) -> Build:
    """Build by the first type of a union that takes the value."""

    def build(value: Any, growing: bool) -> Any:
        for member in members:
            with contextlib.suppress(Never):
                return member(value, growing)
        raise Never

    return build


def _once(build: Build) -> Build:
    known: dict[int, tuple[Any, Any]] = {}

    def build_once(value: Any, growing: bool) -> Any:
        if growing:
            return build(value, True)
        found = known.get(id(value))
        if found is None:
            # Kept with its result: as long as it lives, nothing else has its id.
            found = known[id(value)] = value, build(value, False)
        return found[1]

    return build_once


def _leaf(kind: Any) -> Build:
    import pydantic

    if kind is Any:
        return lambda value, growing: value
    if kind in (str, int, bool):
        return lambda value, growing: _of_type(kind, value)
    from pydantic.errors import PydanticUserError

    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
        # Where it is put off, it is made now.
        adapter.rebuild()
    except (PydanticUserError, NameError):
        # It names a class of a function, which is known only where it is a field of another.
        return lambda value, growing: MISSING
    choices = [choice for choice in _choices(kind) if isinstance(choice, str)]

    def build(value: Any, growing: bool) -> Any:
        try:
            return adapter.validate_json(json.dumps(value))
        except ValueError:
            if growing and (not choices or _begins(value, choices)):
                return MISSING
            raise Never from None

    return build


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise Never
    return value


def _begins(value: Any, choices: list[str]) -> bool:
    return isinstance(value, str) and any(choice.startswith(value) for choice in choices)


def _choices(kind: Any) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [member.value for member in kind]
    return list(get_args(kind)) if get_origin(kind) is Literal else []
