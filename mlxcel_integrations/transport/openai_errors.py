"""The ``openai`` exceptions that failures become.

Imported only when one is raised, since importing ``openai`` takes most of a second.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai

from ..errors import ShortTraceback
from ..protocol.failures import Failure

__all__ = ["api_error"]


class APIConnectionError(ShortTraceback, openai.APIConnectionError):
    """The server cannot be reached."""


class APITimeoutError(ShortTraceback, openai.APITimeoutError):
    """The server did not answer in time."""


class APIStatusError(ShortTraceback, openai.APIStatusError):
    """The server answered with a status that has no specific class."""


class BadRequestError(ShortTraceback, openai.BadRequestError):
    """The server refuses the request."""


class AuthenticationError(ShortTraceback, openai.AuthenticationError):
    """The key is wrong or missing."""


class PermissionDeniedError(ShortTraceback, openai.PermissionDeniedError):
    """The server does not offer this."""


class NotFoundError(ShortTraceback, openai.NotFoundError):
    """The server has no such route or model."""


class ConflictError(ShortTraceback, openai.ConflictError):
    """The server cannot do this in its state."""


class UnprocessableEntityError(ShortTraceback, openai.UnprocessableEntityError):
    """The server does not understand the request."""


class RateLimitError(ShortTraceback, openai.RateLimitError):
    """The server accepts no more requests for now."""


class InternalServerError(ShortTraceback, openai.InternalServerError):
    """The server failed, is busy, or is still loading."""


_BY_NAME: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        APIConnectionError,
        APITimeoutError,
        APIStatusError,
        BadRequestError,
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        ConflictError,
        UnprocessableEntityError,
        RateLimitError,
        InternalServerError,
    )
}


def api_error(failure: Failure, url: str, method: str = "POST") -> openai.APIError:
    """Return the exception that says what went wrong.

    Its request and response are rebuilt without headers, so that a traceback holds no API key.

    Args:
        failure: What went wrong.
        url: Address of the request.
        method: HTTP method of the request.
    """
    # Typed by the library that the installed openai is built on, httpx or httpx2.
    request: Any = httpx.Request(method, url)
    error_class = _BY_NAME[failure.exception]
    if failure.status is None:
        return _without_response(error_class, failure, request)
    # httpx writes neither NaN nor lone surrogates, which a server may send.
    content = json.dumps({"error": failure.body}).encode()
    response = httpx.Response(
        failure.status,
        content=content,
        headers={"content-type": "application/json"},
        request=request,
    )
    error: openai.APIError = error_class(failure.message, response=response, body=failure.body)
    return error


def _without_response(
    error_class: type[openai.APIConnectionError], failure: Failure, request: Any
) -> openai.APIError:
    if issubclass(error_class, openai.APITimeoutError):
        # In no version does this class take a message.
        error = error_class(request)
        error.message = failure.message
        error.args = (failure.message,)
        return error
    return error_class(message=failure.message, request=request)
