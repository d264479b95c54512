"""Errors of this package that are ``ValueError`` too, as LlamaIndex's components expect."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..adapters.errors import with_class
from ..errors import StructuredOutputError, StructuredOutputTruncated

__all__ = [
    "LlamaIndexStructuredOutputError",
    "LlamaIndexStructuredOutputTruncated",
    "llama_index_errors",
]


class LlamaIndexStructuredOutputError(StructuredOutputError, ValueError):
    """An answer does not fit its schema; its text is in ``raw``."""


class LlamaIndexStructuredOutputTruncated(StructuredOutputTruncated, ValueError):
    """An answer was cut before its JSON ended; its readable part is in ``partial``."""


@contextlib.contextmanager
def llama_index_errors() -> Iterator[None]:
    """Raise errors of structured output that are ``ValueError`` too."""
    try:
        yield
    except StructuredOutputTruncated as error:
        raise with_class(error, LlamaIndexStructuredOutputTruncated) from error.__cause__
    except StructuredOutputError as error:
        raise with_class(error, LlamaIndexStructuredOutputError) from error.__cause__
