"""Failures without a response: no connection, no trust, no free slot, a limit of time."""

from __future__ import annotations

from ..errors import MlxcelServerError
from .failures import Failure

__all__ = [
    "cut_by",
    "insecure",
    "no_connection",
    "no_slot",
    "timed_out",
    "unreachable",
    "untrusted",
]

_MISMATCH = {62, 64}
"""OpenSSL's codes for a certificate of another host name, or of another address."""


def unreachable(
    where: str,
    reason: str,
    cause: BaseException,
    *,
    never_sent: bool,
    few_files: bool = False,
    unknown_host: bool = False,
    without_tls: bool = False,
    crash: MlxcelServerError | None = None,
) -> Failure:
    """Return the failure of a server that could not be reached, or went away before it answered.

    Args:
        where: The address.
        reason: The reason in the words of the network.
        cause: The error of the network.
        never_sent: Whether it is certain that the server has not seen the request.
        few_files: Whether this process may not open more sockets.
        unknown_host: Whether the name of the host is unknown.
        without_tls: Whether the server may be one that waits for plain HTTP.
        crash: The error to raise instead if a server that we started has ended.
    """
    what = "Cannot reach" if never_sent else "Lost the connection to"
    advice = "Check that the server is running and listening there."
    if few_files:
        advice = "Send fewer requests at once, or allow this process more files (ulimit -n)."
    elif unknown_host:
        advice = "Check the spelling of the host name, and that this machine is online."
    elif without_tls:
        advice = f"{advice[:-1]}, and use http:// if it does not speak TLS."
    return Failure(
        "APIConnectionError",
        f"{what} {where}: {reason}. {advice}",
        retryable=never_sent,
        cause=cause,
        crash=crash,
    )


def untrusted(where: str, reason: str, code: int, cause: BaseException) -> Failure:
    """Return the failure of a server whose certificate is not trusted.

    Args:
        where: The address.
        reason: The reason in the words of OpenSSL.
        code: The code of the reason.
        cause: The error.
    """
    advice = (
        "Use an address that is in the certificate, or get a certificate for this one."
        if code in _MISMATCH
        else "If it is the right server, pass as verify= a PEM file with the certificate of the "
        "authority that signed it."
    )
    return Failure(
        "APIConnectionError",
        f"The certificate of {where} is not trusted: {reason.rstrip('.')}. {advice}",
        cause=cause,
    )


def insecure(where: str, reason: str, cause: BaseException) -> Failure:
    """Return the failure of a TLS handshake.

    Args:
        where: The address.
        reason: The reason in the words of OpenSSL.
        cause: The error.
    """
    return Failure(
        "APIConnectionError",
        f"No secure connection to {where}: {reason.replace('_', ' ').lower()}. Use http:// if the "
        "server does not speak TLS there, and pass client_cert= if it asks for a certificate.",
        cause=cause,
    )


def timed_out(where: str, limit: str, seconds: float, cause: BaseException) -> Failure:
    """Return the failure of a server that did not answer in time.

    Args:
        where: The address.
        limit: Name of the argument that limits the wait.
        seconds: Its value.
        cause: The error that ended the wait.
    """
    return Failure(
        "APITimeoutError",
        f"{where} did not answer within {seconds:g} s ({limit}=): reading a long "
        "prompt takes a while. Raise the limit, or shorten the prompt.",
        cause=cause,
    )


def no_slot(where: str, limit: str, seconds: float, cause: BaseException) -> Failure:
    """Return the failure of a request for which no slot became free in time.

    Args:
        where: The address.
        limit: Name of the argument that limits the wait.
        seconds: Its value.
        cause: The error that ended the wait.
    """
    return Failure(
        "APITimeoutError",
        f"All slots of {where} were busy for {seconds:g} s ({limit}=). Raise the limit, send fewer "
        "requests at once, or start the server with more slots.",
        cause=cause,
    )


def no_connection(
    where: str, most: int, limit: str, seconds: float, cause: BaseException
) -> Failure:
    """Return the failure of a request for which no connection of the client became free in time.

    Args:
        where: The address.
        most: How many connections there are.
        limit: Name of the argument that limits the wait.
        seconds: Its value.
        cause: The error that ended the wait.
    """
    return Failure(
        "APITimeoutError",
        f"All {most} connections to {where} were busy for {seconds:g} s ({limit}=). Raise the "
        "limit, or send fewer requests at once.",
        cause=cause,
    )


def cut_by(limit: str, seconds: float) -> str:
    """Return why an answer was cut by a limit, as the reason in an error.

    Args:
        limit: Name of the argument that limits the wait.
        seconds: Its value.
    """
    return f"{_LIMIT_REASONS[limit]} {seconds:g} s ({limit}=)"


_LIMIT_REASONS = {
    "timeout": "the server was silent for",
    "token_timeout": "no token came for",
    "total_timeout": "it took longer than",
}
