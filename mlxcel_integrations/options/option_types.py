"""Types of options whose values are converted, or refused with a better message than Pydantic's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, overload

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo

from ..errors import MlxcelError
from .foreign_options import seconds_of

__all__ = [
    "Headers",
    "Key",
    "OptionalSeconds",
    "PathText",
    "PositiveSeconds",
    "Seconds",
    "Verify",
]


def _path_as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _not_a_duration(value: Any, info: ValidationInfo) -> Any:
    """Return the value of an option in seconds.

    Raises:
        MlxcelError: It is a duration such as "5m".
    """
    seconds = seconds_of(value) if isinstance(value, str) else None
    if seconds is not None:
        name = info.field_name
        raise MlxcelError(f"{name}={value!r} must be in seconds: {name}={seconds:g}.")
    return value


Seconds = Annotated[float, Field(ge=0), BeforeValidator(_not_a_duration)]
PositiveSeconds = Annotated[float, Field(gt=0), BeforeValidator(_not_a_duration)]
OptionalSeconds = Annotated[float | None, Field(gt=0), BeforeValidator(_not_a_duration)]

if TYPE_CHECKING:
    Stored = TypeVar("Stored", covariant=True)
    Given = TypeVar("Given", contravariant=True)

    class _Converted(Generic[Stored, Given]):
        """A field for type checkers, which take the type of an argument from ``__set__``."""

        @overload
        def __get__(self, instance: None, owner: Any) -> Any: ...

        @overload
        def __get__(self, instance: object, owner: Any) -> Stored: ...

        def __get__(self, instance: object, owner: Any) -> Any: ...

        def __set__(self, instance: object, value: Given) -> None: ...

    Key = _Converted[SecretStr | None, SecretStr | str | None]
    Headers = _Converted[
        dict[str, SecretStr] | None, Mapping[str, str] | Mapping[str, SecretStr] | None
    ]
    PathText = _Converted[str | None, str | os.PathLike[str] | None]
    Verify = _Converted[bool | str, bool | str | os.PathLike[str]]
else:
    # What is stored. Validators of the adapters convert keys and headers to it.
    Key = SecretStr | None
    Headers = dict[str, SecretStr] | None
    PathText = Annotated[str | None, BeforeValidator(_path_as_text)]
    Verify = Annotated[bool | str, BeforeValidator(_path_as_text)]
