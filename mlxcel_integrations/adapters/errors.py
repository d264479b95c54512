"""Errors of this package as errors of a framework, too."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["with_class"]

E = TypeVar("E", bound=Exception)


def with_class(error: Exception, kind: type[E]) -> E:
    """Return an error with the same content as one of another class.

    Args:
        error: The error.
        kind: A subclass of its class.
    """
    result = kind.__new__(kind)
    result.args = error.args
    result.__dict__.update(error.__dict__)
    return result
