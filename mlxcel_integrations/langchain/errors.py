"""Errors that are both ``openai``'s and LangChain's.

Imported only when one is raised, since importing ``openai`` takes most of a second.
"""

from __future__ import annotations

from typing import TypeVar

import openai
from langchain_core import exceptions as langchain

from ..errors import MlxcelServerError, MlxcelStreamError

__all__ = ["ChatContextOverflowError", "to_langchain"]


class ChatConnectionError(openai.APIConnectionError, langchain.ModelConnectionError):
    """The server cannot be reached."""


class ChatTimeoutError(openai.APITimeoutError, langchain.ModelTimeoutError):
    """The server did not answer in time."""


class ChatInvalidRequestError(openai.BadRequestError, langchain.ModelInvalidRequestError):
    """The server refuses the request."""


class ChatUnprocessableError(openai.UnprocessableEntityError, langchain.ModelInvalidRequestError):
    """The server does not understand the request."""


class ChatAuthenticationError(openai.AuthenticationError, langchain.ModelAuthenticationError):
    """The key is wrong or missing."""


class ChatPermissionDeniedError(openai.PermissionDeniedError, langchain.ModelPermissionDeniedError):
    """The server does not offer this."""


class ChatNotFoundError(openai.NotFoundError, langchain.ModelNotFoundError):
    """The server has no such route or model."""


class ChatRateLimitError(openai.RateLimitError, langchain.ModelRateLimitError):
    """The server takes no more requests for now."""


class ChatServerError(openai.InternalServerError, langchain.ModelAPIError):
    """The server failed, is busy, or is still loading."""


class ChatStatusError(openai.APIStatusError, langchain.ModelAPIError):
    """The server answered with another status."""


class ChatContextOverflowError(openai.BadRequestError, langchain.ContextOverflowError):
    """The prompt does not fit into the context.

    Attributes:
        n_prompt_tokens: Tokens of the prompt, None if the server does not tell.
        n_ctx: Tokens that fit, None if the server does not tell.
    """

    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class ChatServerLostError(MlxcelServerError, langchain.ModelConnectionError):
    """The server of this program has ended, or did not start; see ``stderr``."""


class ChatStreamError(MlxcelStreamError, langchain.ModelAPIError):
    """An answer broke off; what had arrived is in ``partial``."""


Dual = TypeVar("Dual", bound=Exception)

_DUALS: tuple[type[Exception], ...] = (
    ChatTimeoutError,
    ChatConnectionError,
    ChatInvalidRequestError,
    ChatUnprocessableError,
    ChatAuthenticationError,
    ChatPermissionDeniedError,
    ChatNotFoundError,
    ChatRateLimitError,
    ChatServerError,
    ChatStatusError,
    ChatServerLostError,
    ChatStreamError,
)


def to_langchain(error: Exception) -> Exception:
    """Return the error that says the same and is LangChain's too; others as they are."""
    if isinstance(error, openai.BadRequestError) and error.type == "exceed_context_size_error":
        overflow = _as(ChatContextOverflowError, error)
        body = error.body if isinstance(error.body, dict) else {}
        overflow.n_prompt_tokens, overflow.n_ctx = body.get("n_prompt_tokens"), body.get("n_ctx")
        return overflow
    dual = next((dual for dual in _DUALS if isinstance(error, dual.__bases__[0])), None)
    return error if dual is None else _as(dual, error)


def _as(dual: type[Dual], error: Exception) -> Dual:
    """Return an error of another class with the same content."""
    result = dual.__new__(dual)
    result.args = error.args
    result.__dict__.update(error.__dict__)
    return result
