"""Notes to a request about its schema: our own, and no fields of the server.

They are among its fields, since frameworks bind nothing but fields. They are told from the fields
of users by their types, not by their names.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EXACT", "RELAXABLE", "Correction", "SchemaUse"]


class SchemaUse(NamedTuple):
    """How a schema is sent, as ``schema_use`` among the fields.

    Attributes:
        relaxable: Whether the caller checks the answer by the schema, so that the server need not
            know all of it.
        tight: Whether an answer was too long, so that texts and lists get narrow limits.
    """

    relaxable: bool = False
    tight: bool = False


EXACT = SchemaUse()
"""The server must keep to all of the schema, which gets the usual limits."""

RELAXABLE = SchemaUse(relaxable=True)
"""The caller checks the answer by the schema, which gets the usual limits."""


class Correction(NamedTuple):
    """What was wrong with the last answer, as ``correction`` among the fields.

    Attributes:
        text: What the model is told.
        too_long: Whether the answer was cut.
    """

    text: str
    too_long: bool = False
