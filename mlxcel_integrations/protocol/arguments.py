"""Arguments of the clients: checks of types and ranges, and numbers of other libraries."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, get_origin, get_type_hints

from ..errors import MlxcelError

__all__ = [
    "as_optional_text",
    "as_path",
    "as_seconds",
    "as_strings",
    "as_switch",
    "as_token_ids",
    "as_whole",
    "check_mapping",
    "check_text",
    "check_unnamed",
    "checked",
    "number",
    "plain",
    "shown",
    "whole",
]


def shown(value: object) -> str:
    """Return a value as an error shows it: short, and on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(value: Any) -> int | None:
    """Return a whole number of any library as an int; None for anything else, True included."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def plain(value: Any) -> Any:
    """Return a number of NumPy, or of a similar library, as Python's; anything else unchanged."""
    return value.item() if hasattr(value, "dtype") and not getattr(value, "ndim", 1) else value


def number(value: Any) -> float | None:
    """Return a number of any library as Python's; None for anything else, True included."""
    if isinstance(plain(value), str | bytes | bytearray | bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(found) else found


def as_whole(name: str, value: Any, least: int) -> int:
    """Return a whole number that has a lower limit.

    Raises:
        MlxcelError: It is not one, or too small.
    """
    found = whole(value)
    if found is None:
        kind = type(value).__name__
        raise MlxcelError(f"{name}={shown(value)} must be a whole number, not {kind}.")
    if found < least:
        raise MlxcelError(f"{name}={found} must be at least {least}.")
    return found


def as_seconds(name: str, value: Any) -> float | None:
    """Return a positive number of seconds; None passes.

    Raises:
        MlxcelError: It is not one.
    """
    if value is None:
        return None
    found = number(value)
    if found is None or not found > 0:
        raise MlxcelError(
            f"{name}={shown(value)} is not a positive number of seconds: pass one, or omit it."
        )
    return found


def check_unnamed(arguments: tuple[object, ...], kind: str) -> None:
    """Check that a class was called with no positional argument but the model.

    Args:
        arguments: The others, which are not shown: one may be a key.
        kind: Name of the class.

    Raises:
        MlxcelError: There is one.
    """
    if arguments:
        raise MlxcelError(
            f"{kind} takes one argument without a name, the model. Name the others: "
            f"{kind}('embedded', ctx_size=4096). Options of answers, such as temperature=, are for "
            "each request."
        )


def as_path(name: str, value: Any) -> str | None:
    """Return a path or a name as text; None passes.

    Raises:
        MlxcelError: It is neither.
    """
    try:
        path = value if value is None else os.fspath(value)
    except TypeError:
        path = b""
    if isinstance(path, bytes):
        raise MlxcelError(
            f"{name}={shown(value)} must be a str or a path, not {type(value).__name__}."
        )
    return path


def as_optional_text(name: str, value: Any) -> str | None:
    """Return text; None passes.

    Raises:
        MlxcelError: It is not text.
    """
    if value is not None:
        check_text(name, value)
    text: str | None = value
    return text


def as_switch(name: str, value: Any) -> bool | None:
    """Return True or False, of NumPy too; None passes.

    Raises:
        MlxcelError: It is neither.
    """
    found = plain(value)
    if found is None or isinstance(found, bool):
        return found
    raise MlxcelError(f"{name}={shown(value)} must be True or False, not {type(value).__name__}.")


def checked(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as what checks them returns them: the function in the annotation.

    Args:
        kind: A class with fields such as ``socket: Annotated[str | None, as_path]``. A field
            without such a function takes any value.
        given: Values by the names of these fields.

    Raises:
        MlxcelError: A value has another type.
    """
    checks = _checks(kind)
    return {
        name: checks[name](name, value) if name in checks else value
        for name, value in given.items()
    }


@cache
def _checks(kind: type) -> dict[str, Callable[[str, Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return {n: hint.__metadata__[0] for n, hint in hints.items() if hasattr(hint, "__metadata__")}


def check_text(name: str, value: Any) -> None:
    """Check that an argument is text.

    Raises:
        MlxcelError: It is not.
    """
    if not isinstance(value, str):
        raise MlxcelError(f"{name}={shown(value)} must be a str, not {type(value).__name__}.")


def check_mapping(name: str, value: Any, example: str) -> None:
    """Check that an argument is a dictionary; None passes.

    Args:
        name: Name of the argument.
        value: Its value, which is not shown: it may hold a key.
        example: What to pass.

    Raises:
        MlxcelError: It is not.
    """
    if not (value is None or isinstance(value, Mapping)):
        raise MlxcelError(
            f"{name}= must be a dictionary such as {example}, not {type(value).__name__}."
        )


def as_strings(name: str, texts: Any) -> list[str]:
    """Return the texts of an argument, which may be any iterable, as a list.

    Raises:
        MlxcelError: It is not an iterable of strings.
    """
    if isinstance(texts, str):
        raise MlxcelError(f"{name}= is a single string: pass a list of strings.")
    # Enums and generic aliases, such as Literal["a", "b"], can be iterated over as well.
    if isinstance(texts, type) or get_origin(texts) is not None:
        raise MlxcelError(f"{name}= is the type {shown(texts)}: pass a list of strings.")
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | bytearray | Mapping):
        raise MlxcelError(f"{name}= must be a list of strings, not {type(texts).__name__}.")
    found = list(texts)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise MlxcelError(f"{name}[{index}] is {type(text).__name__}, not a string.")
    return found


def as_token_ids(tokens: Any) -> list[int]:
    """Return token ids as a list.

    Raises:
        MlxcelError: One of them is not a whole number, or is negative.
    """
    if isinstance(tokens, Iterable) and not isinstance(tokens, str | bytes | Mapping):
        found = [whole(token) for token in tokens]
        ids = [token for token in found if token is not None and token >= 0]
        if len(ids) == len(found):
            return ids
    raise MlxcelError(f"tokens={shown(tokens)} must be a list of token ids (whole numbers from 0).")
