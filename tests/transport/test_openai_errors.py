"""The openai exceptions that failures become: their class, their message and what they hold."""

from __future__ import annotations

import openai
import pytest

from mlxcel_integrations.protocol.connection_failures import timed_out, unreachable
from mlxcel_integrations.protocol.failures import Failure, from_status
from mlxcel_integrations.transport.openai_errors import api_error

URL = "http://localhost/v1/models"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_status_becomes_the_exception_of_openai(
    status: int, kind: type[openai.APIStatusError]
) -> None:
    failure = from_status(status, {}, b'{"error": {"message": "no"}}', "http://localhost")
    error = api_error(failure, URL, "GET")

    assert isinstance(error, kind)
    assert kind.__name__ == type(error).__name__
    assert failure.message == str(error)
    assert ("GET", URL) == (error.request.method, str(error.request.url))
    assert "authorization" not in error.request.headers


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (timed_out("here", "timeout", 5.0, TimeoutError()), openai.APITimeoutError),
        (
            unreachable("here", "refused", OSError(), never_sent=True, few_files=False, crash=None),
            openai.APIConnectionError,
        ),
    ],
    ids=["timed out", "unreachable"],
)
def test_a_request_without_a_response_keeps_its_message(
    failure: Failure, kind: type[openai.APIConnectionError]
) -> None:
    error = api_error(failure, URL)

    assert isinstance(error, kind)
    assert kind.__name__ == type(error).__name__
    assert str(error) == error.message == failure.message
