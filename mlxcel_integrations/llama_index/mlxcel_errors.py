"""Errors of this package that are ``ValueError`` too, as LlamaIndex's components expect."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

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


class _LlamaIndexErrors(contextlib.AbstractContextManager[Any, None]):
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, StructuredOutputTruncated):
            raise with_class(error, LlamaIndexStructuredOutputTruncated) from error.__cause__
        if isinstance(error, StructuredOutputError):
            raise with_class(error, LlamaIndexStructuredOutputError) from error.__cause__


llama_index_errors = _LlamaIndexErrors()
"""Raises errors of structured output that are ``ValueError`` too."""
