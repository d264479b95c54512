"""Types of options that are stored as another type than they may be given as."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pydantic import SecretStr

__all__ = ["Headers", "Key", "PathText", "Verify"]

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
    # Pydantic validates what is stored; validators convert to it.
    Key = SecretStr | None
    Headers = dict[str, SecretStr] | None
    PathText = str | None
    Verify = bool | str
