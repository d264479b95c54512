"""What the exceptions of a network mean."""

from __future__ import annotations

import os
import ssl

import httpx

from ..errors import causes
from ..protocol.failures import Failure, insecure, untrusted

__all__ = ["is_timeout", "system_number", "system_reason", "tls_failure"]

_TIMEOUTS = (httpx.TimeoutException, BlockingIOError, ssl.SSLWantReadError, TimeoutError)
"""What ends a read that took too long; the second and third come from a limit of the socket."""


def is_timeout(error: BaseException) -> bool:
    """Tell whether something took too long."""
    return any(isinstance(cause, _TIMEOUTS) for cause in causes(error))


def system_reason(error: Exception) -> str:
    """Return what the network reported, in the system's words if there are any."""
    number = system_number(error)
    return os.strerror(number) if number else str(error).rstrip(".")


def system_number(error: Exception) -> int | None:
    """Return the system's number of an error, None if it has none."""
    numbers = [
        e.errno
        for e in causes(error)
        # The numbers of OpenSSL are not the system's.
        if isinstance(e, OSError) and e.errno and not isinstance(e, ssl.SSLError)
    ]
    return numbers[-1] if numbers else None


def tls_failure(where: str, error: Exception) -> Failure | None:
    """Tell why no secure connection came about, None if that is not what is wrong.

    Args:
        where: Address of the server.
        error: What ended the request.
    """
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return untrusted(where, cause.verify_message, cause.verify_code, error)
        if isinstance(cause, ssl.SSLError):
            return insecure(where, cause.reason or str(cause), error)
    return None
