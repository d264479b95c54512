"""Validation of a server's JSON, so that its readers can rely on its types."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from .body import valid_text

__all__ = [
    "NOT_JSON",
    "JsonMapping",
    "JsonObject",
    "are_calls",
    "are_logprobs",
    "are_timings",
    "as_count",
    "as_object",
    "as_text",
    "call_arguments",
    "error_text",
    "from_json",
    "is_json",
    "is_shallow",
    "is_text",
    "is_usage",
    "parsed",
]

JsonObject = dict[str, Any]
"""An object of JSON that is made here."""

JsonMapping = Mapping[str, Any]
"""An object of JSON that is only read: it may be the user's."""

MAX_NESTING = 16
"""Deepest nesting of JSON that is passed on: frameworks copy and merge it by recursion."""

FLOAT_OVERFLOW = 2**1023
"""Integers from here on overflow a float."""

MAX_MESSAGE_CHARACTERS = 2000
"""Longest quotation of a server's message in an error."""


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.40} is too large")
    return number


_decode = json.JSONDecoder().decode
_decode_finite = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_finite).decode

NOT_JSON: Any = object()
"""What ``from_json`` returns for a text that is not JSON."""


def from_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, ``NOT_JSON`` if it is not JSON or nested too deeply."""
    try:
        if isinstance(text, bytes):
            # json.loads would guess the encoding, which takes as long as reading a token's event.
            text = text.decode(errors="surrogatepass").removeprefix("\ufeff")
        return _decode(text)
    except (ValueError, RecursionError):
        return NOT_JSON


def parsed(text: str) -> Any:
    """Return the value of JSON without NaN and infinite numbers.

    Raises:
        ValueError: It is not JSON, or has a number too large.
        RecursionError: It is nested far too deeply.
    """
    return _decode_finite(text)


def is_json(text: str) -> bool:
    """Return whether a text is JSON, in which NaN and infinite numbers are not numbers."""
    try:
        parsed(text)
    except (ValueError, RecursionError):
        return False
    return True


def call_arguments(text: str | None) -> dict[str, Any] | None:
    """Return the arguments of a call, None if they are not the JSON of an object."""
    try:
        value = parsed(text or "{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_count(value: Any) -> int | None:
    """Return a positive integer, None for anything else."""
    return value if type(value) is int and value > 0 else None


def as_text(value: Any) -> str | None:
    """Return a string, None for anything else."""
    return value if isinstance(value, str) else None


def error_text(error: Any) -> str:
    """Return the message of an error object, in any form that servers use."""
    message = error.get("message") or error if isinstance(error, dict) else error
    text = str(message) if is_shallow(message) else "an error that is nested too deeply to show"
    # A program could not print an error with a lone surrogate in it.
    text = valid_text(text)
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[:MAX_MESSAGE_CHARACTERS] + "…"


def is_text(value: Any) -> bool:
    """Return whether a value is a string or None."""
    return value is None or isinstance(value, str)


def are_calls(value: Any) -> bool:
    """Return whether a value is a list of parts of tool calls, as OpenAI's ``delta.tool_calls``."""
    return _is_list_of(value, _is_call)


def are_logprobs(value: Any) -> bool:
    """Return whether a value holds log probabilities as in chats, or as in text completions."""
    if not (isinstance(value, dict) and is_shallow(value)):
        return False
    if "tokens" in value:
        return _are_of_completion(value)
    content = value.get("content")
    return content is None or _is_list_of(content, _is_token_entry)


def is_usage(value: Any) -> bool:
    """Return whether a value holds token counts, as OpenAI's ``usage``."""
    if not (isinstance(value, dict) and is_shallow(value)):
        return False
    details = [value.get(name) or {} for name in _DETAILS]
    return all(_is_whole(value.get(name)) for name in _COUNTS) and all(
        isinstance(part, dict) and all(map(_is_whole, part.values())) for part in details
    )


def are_timings(value: Any) -> bool:
    """Return whether a value is a dictionary of measurements."""
    return isinstance(value, dict) and is_shallow(value)


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


def is_shallow(value: Any, levels: int = MAX_NESTING) -> bool:
    """Return whether JSON is nested no deeper than frameworks can bear."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return levels > 0 and all(is_shallow(part, levels - 1) for part in value)


def _is_list_of(value: Any, is_one: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(is_one, value))


def _is_whole(value: Any) -> bool:
    return value is None or type(value) is int


def _is_number(value: Any) -> bool:
    # JSON cannot express the logarithm of zero, so servers write null.
    return (
        value is None
        or type(value) is float
        or (type(value) is int and abs(value) < FLOAT_OVERFLOW)
    )


def _is_call(value: Any) -> bool:
    if not (isinstance(value, dict) and _is_whole(value.get("index")) and is_text(value.get("id"))):
        return False
    function = value.get("function") or {}
    return isinstance(function, dict) and all(
        is_text(function.get(name)) for name in ("name", "arguments")
    )


def _is_token_entry(value: Any) -> bool:
    """Return whether a value is a chat's token with its log probability and alternatives."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("token"), str)
        and _is_number(value.get("logprob"))
        and _is_list_of(value.get("bytes") or [], lambda byte: type(byte) is int)
        and _is_list_of(value.get("top_logprobs") or [], _is_token_entry)
    )


def _are_of_completion(value: Mapping[str, Any]) -> bool:
    tokens, numbers = value["tokens"], value.get("token_logprobs")
    others = value.get("top_logprobs") or []
    return (
        _is_list_of(tokens, lambda token: isinstance(token, str))
        and _is_list_of(numbers, _is_number)
        and _is_list_of(others, _are_alternatives)
        and len(tokens) == len(numbers or ())
        and len(others) <= len(tokens)
    )


def _are_alternatives(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_number, value.values())))
