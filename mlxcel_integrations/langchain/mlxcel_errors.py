"""Errors of this package that are LangChain's too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

from langchain_core import exceptions as langchain

from ..errors import (
    MlxcelError,
    MlxcelServerError,
    MlxcelStreamError,
    MlxcelTimeoutError,
    StructuredOutputError,
    StructuredOutputTruncated,
)

__all__ = ["as_dual", "langchain_errors", "own_to_langchain"]


class ChatStartTimeoutError(MlxcelTimeoutError, langchain.ModelTimeoutError):
    """The server of this program was not ready in time; see ``stderr``."""


class ChatServerLostError(MlxcelServerError, langchain.ModelConnectionError):
    """The server of this program has ended, or did not start; see ``stderr``."""


class ChatStreamError(MlxcelStreamError, langchain.ModelAPIError):
    """An answer broke off; what had arrived is in ``partial``."""


class ChatStructuredOutputError(StructuredOutputError, langchain.OutputParserException):
    """An answer does not fit its schema; its text is in ``raw``, and in ``llm_output``."""


class ChatStructuredOutputTruncated(StructuredOutputTruncated, langchain.OutputParserException):
    """An answer was cut before its JSON ended; what can be read of it is in ``partial``."""


Dual = TypeVar("Dual", bound=Exception)

_DUALS: tuple[type[MlxcelError], ...] = (
    ChatStartTimeoutError,
    ChatServerLostError,
    ChatStreamError,
    ChatStructuredOutputTruncated,
    ChatStructuredOutputError,
)


def own_to_langchain(error: MlxcelError) -> MlxcelError:
    """Return the error that says the same and is LangChain's too; others as they are."""
    dual = next((dual for dual in _DUALS if isinstance(error, dual.__bases__[0])), None)
    if dual is None:
        return error
    result = as_dual(dual, error)
    if isinstance(result, StructuredOutputError):
        result.__dict__.update(observation=None, llm_output=result.raw, send_to_llm=False)
    return result


def as_dual(dual: type[Dual], error: Exception) -> Dual:
    """Return an error of another class with the same content."""
    result = dual.__new__(dual)
    result.args = error.args
    result.__dict__.update(error.__dict__)
    return result


@contextlib.contextmanager
def langchain_errors() -> Iterator[None]:
    """Raise errors that are LangChain's too."""
    try:
        yield
    except MlxcelError as error:
        dual = own_to_langchain(error).with_traceback(error.__traceback__)
        raise dual from error.__cause__
    except Exception as error:
        if not type(error).__module__.startswith("openai"):
            raise
        from .openai_errors import to_langchain

        raise to_langchain(error).with_traceback(error.__traceback__) from error.__cause__
