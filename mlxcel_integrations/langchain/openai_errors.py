"""Errors of ``openai`` that are LangChain's, too.

Imported only when one is raised, since importing ``openai`` takes most of a second.
"""

from __future__ import annotations

import openai
from langchain_core import exceptions as langchain

from ..protocol.failures import is_overflow
from ..protocol.validation import as_count
from .mlxcel_errors import as_dual

__all__ = ["ChatContextOverflowError", "from_openai"]


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
    """The server accepts no more requests for now."""


class ChatServerError(openai.InternalServerError, langchain.ModelAPIError):
    """The server failed, is busy, or is still loading."""


class ChatStatusError(openai.APIStatusError, langchain.ModelAPIError):
    """The server answered with another status."""


class ChatContextOverflowError(openai.BadRequestError, langchain.ContextOverflowError):
    """The prompt does not fit into the context.

    Attributes:
        n_prompt_tokens: Tokens of the prompt, None if the server does not say.
        n_ctx: Tokens that fit, None if the server does not say.
    """

    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


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
)
"""Subclasses before their bases."""


def from_openai(error: Exception) -> Exception:
    """Return the same error as one of LangChain's, too; unchanged if LangChain has none for it."""
    if isinstance(error, openai.BadRequestError) and is_overflow(error.body):
        overflow = as_dual(ChatContextOverflowError, error)
        body = error.body if isinstance(error.body, dict) else {}
        overflow.n_prompt_tokens = as_count(body.get("n_prompt_tokens"))
        overflow.n_ctx = as_count(body.get("n_ctx"))
        return overflow
    dual = next((dual for dual in _DUALS if isinstance(error, dual.__bases__[0])), None)
    return error if dual is None else as_dual(dual, error)
