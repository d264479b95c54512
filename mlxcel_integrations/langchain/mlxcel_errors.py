"""Errors of this package that are LangChain's, too."""

from __future__ import annotations

from langchain_core import exceptions as langchain

from ..adapters.errors import with_class
from ..errors import (
    MlxcelError,
    MlxcelServerError,
    MlxcelStreamError,
    MlxcelTimeoutError,
    StructuredOutputError,
    StructuredOutputTruncated,
)

__all__ = ["from_mlxcel"]


class ChatStartTimeoutError(MlxcelTimeoutError, langchain.ModelTimeoutError):
    """The managed server was not ready in time; see ``stderr``."""


class ChatManagedServerError(MlxcelServerError, langchain.ModelConnectionError):
    """The managed server has ended, or did not start; see ``stderr``."""


class ChatStreamError(MlxcelStreamError, langchain.ModelAPIError):
    """An answer broke off; the part that had arrived is in ``partial``."""


class ChatStructuredOutputError(StructuredOutputError, langchain.OutputParserException):
    """An answer does not fit its schema; its text is in ``raw``, and in ``llm_output``."""


class ChatStructuredOutputTruncated(StructuredOutputTruncated, langchain.OutputParserException):
    """An answer was cut before its JSON ended; the values so far are in ``partial``."""


_LANGCHAIN_ERRORS: tuple[type[MlxcelError], ...] = (
    ChatStartTimeoutError,
    ChatManagedServerError,
    ChatStreamError,
    ChatStructuredOutputTruncated,
    ChatStructuredOutputError,
)
"""Subclasses before their bases."""


def from_mlxcel(error: MlxcelError) -> MlxcelError:
    """Return the error as an error of LangChain, too; unchanged if LangChain has no such error."""
    kind = next((kind for kind in _LANGCHAIN_ERRORS if isinstance(error, kind.__bases__[0])), None)
    if kind is None:
        return error
    result = with_class(error, kind)
    if isinstance(result, StructuredOutputError):
        # LangChain's parser errors have these.
        result.__dict__.update(observation=None, llm_output=result.raw, send_to_llm=False)
    return result
