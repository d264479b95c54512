"""Errors of ``openai`` that are LangChain's, too.

Imported only when one is raised, since importing ``openai`` takes most of a second.
"""

from __future__ import annotations

import openai
from langchain_core import exceptions as langchain

from ..adapters.errors import with_class
from ..errors import ShortTraceback
from ..protocol.failures import is_overflow
from ..protocol.validation import as_count

__all__ = ["ChatContextOverflowError", "from_openai"]


class ChatConnectionError(
    openai.APIConnectionError, langchain.ModelConnectionError, ShortTraceback
):
    """The server cannot be reached."""


class ChatTimeoutError(openai.APITimeoutError, langchain.ModelTimeoutError, ShortTraceback):
    """The server did not answer in time."""


class ChatInvalidRequestError(
    openai.BadRequestError, langchain.ModelInvalidRequestError, ShortTraceback
):
    """The server refuses the request."""


class ChatUnprocessableError(
    openai.UnprocessableEntityError, langchain.ModelInvalidRequestError, ShortTraceback
):
    """The server does not understand the request."""


class ChatAuthenticationError(
    openai.AuthenticationError, langchain.ModelAuthenticationError, ShortTraceback
):
    """The key is wrong or missing."""


class ChatPermissionDeniedError(
    openai.PermissionDeniedError, langchain.ModelPermissionDeniedError, ShortTraceback
):
    """The server does not offer this."""


class ChatNotFoundError(openai.NotFoundError, langchain.ModelNotFoundError, ShortTraceback):
    """The server has no such route or model."""


class ChatRateLimitError(openai.RateLimitError, langchain.ModelRateLimitError, ShortTraceback):
    """The server accepts no more requests for now."""


class ChatServerError(openai.InternalServerError, langchain.ModelAPIError, ShortTraceback):
    """The server failed, is busy, or is still loading."""


class ChatStatusError(openai.APIStatusError, langchain.ModelAPIError, ShortTraceback):
    """The server answered with another status."""


class ChatContextOverflowError(
    openai.BadRequestError, langchain.ContextOverflowError, ShortTraceback
):
    """The prompt does not fit into the context.

    Attributes:
        n_prompt_tokens: Tokens of the prompt, None if the server does not say.
        n_ctx: Tokens that fit, None if the server does not say.
    """

    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


_LANGCHAIN_ERRORS: tuple[type[Exception], ...] = (
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
    """Return the error as an error of LangChain, too; unchanged if LangChain has no such error."""
    if isinstance(error, openai.BadRequestError) and is_overflow(error.body):
        overflow = with_class(error, ChatContextOverflowError)
        body = error.body if isinstance(error.body, dict) else {}
        overflow.n_prompt_tokens = as_count(body.get("n_prompt_tokens"))
        overflow.n_ctx = as_count(body.get("n_ctx"))
        return overflow
    kind = next((kind for kind in _LANGCHAIN_ERRORS if isinstance(error, kind.__bases__[0])), None)
    return error if kind is None else with_class(error, kind)
