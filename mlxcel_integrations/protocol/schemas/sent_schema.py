"""Schemas as they are sent: with bounds, within the server's limits, with names it can follow.

The larger the schema, the longer all of this takes, so it is done once for each schema and room.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any

from ...errors import MlxcelError
from .definition_names import uri_safe, with_itself_defined
from .json_schema import UNUSUAL_SCHEMA_ERRORS, JsonSchema, compact, schema_in, with_schema_in
from .size_limits import within_limits

__all__ = ["format_to_send"]

CACHED_TO_SEND = 128

_Bounding = Callable[[JsonSchema, int | None], JsonSchema]
"""Returns a schema with bounds for an answer that has room for so many tokens."""


def format_to_send(
    response_format: Any, room: int | None, bounding: _Bounding | None, *, limited: bool
) -> Any:
    """Return a ``response_format`` as a server takes it; the same object if nothing changes.

    Args:
        response_format: The format.
        room: Tokens of the answer, None if they are not limited.
        bounding: Sets bounds; None to send none.
        limited: Whether the server has the limits of mlxcel.

    Raises:
        MlxcelError: The schema is beyond these limits, and cannot be made small enough.
    """
    schema = schema_in(response_format)
    if schema is None:
        return response_format
    try:
        text = compact(schema)
    except UNUSUAL_SCHEMA_ERRORS:
        return response_format  # refused when it is written as JSON
    return with_schema_in(response_format, _schema_to_send(text, room, bounding, limited) or schema)


@functools.lru_cache(CACHED_TO_SEND)
def _schema_to_send(
    text: str, room: int | None, bounding: _Bounding | None, limited: bool
) -> JsonSchema | None:
    """Return the schema to send instead of a given one, None if nothing changes."""
    given: JsonSchema = json.loads(text)
    schema = given
    if bounding is not None:
        # One of an unusual form is left to the server.
        with contextlib.suppress(*UNUSUAL_SCHEMA_ERRORS):
            schema = bounding(given, room)
    schema = _sendable(schema, limited)
    schema = uri_safe(schema)
    return None if schema is given else schema


def _sendable(schema: JsonSchema, limited: bool) -> JsonSchema:
    """Return a schema whose references to itself each server can follow, within its limits."""
    itself = with_itself_defined(schema)
    if not limited:
        return itself
    try:
        return within_limits(itself)
    except MlxcelError:
        return within_limits(schema)  # mlxcel follows any reference
