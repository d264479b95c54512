"""Translation of errors, so that LangChain's handlers catch them, too."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from ..errors import MlxcelError
from .mlxcel_errors import from_mlxcel

__all__ = ["langchain_errors"]


class _LangChainErrors(contextlib.AbstractContextManager[Any, None]):
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, MlxcelError):
            raise from_mlxcel(error).with_traceback(None) from error.__cause__
        if isinstance(error, Exception) and _is_of_openai(type(error)):
            from .openai_errors import from_openai

            raise from_openai(error).with_traceback(None) from error.__cause__


def _is_of_openai(kind: type[Exception]) -> bool:
    return any(parent.__module__.startswith("openai") for parent in kind.__mro__)


langchain_errors = _LangChainErrors()
"""Raises errors of this package and of ``openai`` as subclasses of LangChain's, too."""
