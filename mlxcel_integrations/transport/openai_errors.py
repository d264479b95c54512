"""The ``openai`` exceptions that failures become.

Imported only when one is raised, since importing ``openai`` takes most of a second.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai

from ..protocol.failures import Failure

__all__ = ["api_error"]


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
    error_class = getattr(openai, failure.exception)
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
        # This class takes no message of its own in any version.
        error = error_class(request)
        error.message = failure.message
        error.args = (failure.message,)
        return error
    return error_class(message=failure.message, request=request)
