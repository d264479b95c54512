"""Bodies of requests: JSON of any text, and of the numbers of other libraries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import MlxcelError

__all__ = ["as_plain", "encode_body", "to_json", "valid_text"]


def to_json(value: Any) -> str:
    """Return a value as JSON.

    Raises:
        MlxcelError: A part of it cannot be written as JSON; the message names the part.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(value, error) from None


def encode_body(value: Any) -> bytes:
    """Return the JSON of a request body as bytes.

    Texts may contain lone surrogates, which some PDF readers produce. Servers refuse a body with
    one, so each is replaced by U+FFFD.

    Raises:
        MlxcelError: A part of it cannot be written as JSON.
    """
    text = to_json(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return valid_text(text).encode()


def valid_text(text: str) -> str:
    """Return a text in which lone surrogates are U+FFFD, and pairs are one character."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def as_plain(value: Any) -> Any:
    """Return a number or a container of another library, such as NumPy, as one of Python's.

    Raises:
        TypeError: It is neither.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=as_plain)


def _not_json(value: Any, error: Exception) -> MlxcelError:
    if isinstance(error, RecursionError) or "Circular" in str(error):
        return MlxcelError(
            "The request is nested too deeply, or contains itself: pass plain, finite data."
        )
    for place, part in _wrong_parts("", value):
        if isinstance(part, float):
            return MlxcelError(f"{place} is {part}, which JSON cannot represent: pass a number.")
        return MlxcelError(
            f"{place} is of the type {type(part).__name__}, which cannot be written as JSON: pass "
            "text, numbers, True, False, None, lists or dictionaries."
        )
    return MlxcelError(f"The request cannot be written as JSON: {error}.")


def _wrong_parts(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value that cannot be written as JSON, each with its place."""
    if isinstance(value, dict):
        children: Iterable[tuple[Any, Any]] = value.items()
        wrong = [key for key in value if not isinstance(key, str | int | float | bool | None)]
        yield from ((f"A key of {place or 'the request'}", key) for key in wrong)
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    else:
        try:
            _ENCODER.encode(value)
        except (TypeError, ValueError):
            yield place or "The request", value
        return
    for key, child in children:
        named = f"[{key}]" if not isinstance(value, dict) else f".{key}" if place else str(key)
        yield from _wrong_parts(f"{place}{named}", child)
