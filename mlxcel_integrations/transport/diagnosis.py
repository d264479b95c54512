"""Diagnosis of failed requests: network, TLS, limit or crash."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

import httpx

from ..errors import MlxcelServerError, causes
from ..protocol.connection_failures import (
    cut_by,
    insecure,
    no_connection,
    timed_out,
    unreachable,
    untrusted,
)
from ..protocol.failures import Failure
from ..secret import redacted
from .connection import Connection
from .endpoint import MAX_CONNECTIONS

__all__ = ["broken", "hide_secrets", "log_tail", "unanswered"]

_TIMEOUTS = (httpx.TimeoutException, TimeoutError)
"""Errors of a wait that took too long."""


def unanswered(connection: Connection, error: Exception, exceeded: tuple[str, float]) -> Failure:
    """Return why a request got no response.

    Args:
        connection: The server that was asked.
        error: The error that ended the wait.
        exceeded: The limit that applies if it took too long: its argument, and its seconds.
    """
    hide_secrets(error)
    where = str(connection.endpoint)
    if isinstance(error, httpx.PoolTimeout):
        return no_connection(where, MAX_CONNECTIONS, *exceeded, error)
    not_accepted = isinstance(error, httpx.ConnectTimeout)
    if _is_timeout(error) and not not_accepted:
        return timed_out(where, *exceeded, error)
    # A handshake that takes too long is the end of a wait, not a fault that OpenSSL has found.
    tls_failure = None if not_accepted else _tls_failure(where, error)
    if tls_failure is not None:
        return tls_failure
    crash = _crash_error(connection)
    reason = _how_server_ended(connection) or _system_reason(error) or "it closed the connection"
    unknown_host = any(isinstance(cause, socket.gaierror) for cause in causes(error))
    if not_accepted:
        limit, seconds = exceeded
        if limit != "total_timeout":
            limit, seconds = connection.timeouts.connect_name, connection.timeouts.connect
        what = "secure connection" if connection.endpoint.is_secure else "connection"
        missed = "its name was not looked up" if unknown_host else f"it accepted no {what}"
        reason = f"{missed} within {seconds:g} s ({limit}=)"
    never_sent = not_accepted or isinstance(error, httpx.ConnectError)
    few_files = _system_number(error) in (errno.EMFILE, errno.ENFILE)
    return unreachable(
        where,
        reason,
        error,
        never_sent=never_sent,
        few_files=few_files,
        unknown_host=unknown_host,
        without_tls=not_accepted and connection.endpoint.is_secure,
        crash=crash,
    )


def broken(
    connection: Connection, error: Exception, exceeded: tuple[str, float]
) -> tuple[str, str]:
    """Return why an answer ended while it was read, and the log of a managed server that crashed.

    Args:
        connection: The server that was asked.
        error: The error that ended the read.
        exceeded: The limit that applies if it took too long: its argument, and its seconds.
    """
    hide_secrets(error)
    if _is_timeout(error):
        return cut_by(*exceeded), ""
    crash = _crash_error(connection)
    reason = _how_server_ended(connection) or _system_reason(error) or "the connection was closed"
    return reason, crash.stderr if crash is not None else ""


def hide_secrets(error: BaseException) -> None:
    """Replace all keys in an error and in those behind it, and remove the headers of requests.

    A server may send back anything that it was sent, and libraries quote it.
    """
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        waiting += [one.__cause__, one.__context__]
        one.args = tuple(map(_without_secrets, one.args))
        for name, value in list(vars(one).items()):
            vars(one)[name] = _without_secrets(value)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, httpx.Request):
        return httpx.Request(value.method, value.url)
    return value


def log_tail(connection: Connection) -> str:
    """Return the last lines that the managed server printed."""
    lease = connection.lease
    return lease.server.log_tail if lease is not None and lease.alive else ""


def _how_server_ended(connection: Connection) -> str | None:
    """Return how the managed server ended, None if it still runs."""
    lease = connection.lease
    if lease is None:
        return None
    return lease.server.end() if lease.alive else "this program closed the model"


def _crash_error(connection: Connection) -> MlxcelServerError | None:
    """Return the error of a managed server that has ended unexpectedly, None if it still runs."""
    lease = connection.lease
    if lease is None or not lease.alive:
        return None
    server = lease.server
    how = server.end()
    if how is None:
        return None
    return MlxcelServerError(
        f"The server for {server.model!r} ended during a request: {how}. Send the request again to "
        "restart it. It said:",
        stderr=server.log_tail,
        returncode=server.poll(),
    )


def _is_timeout(error: BaseException) -> bool:
    return any(isinstance(cause, _TIMEOUTS) for cause in causes(error))


def _system_reason(error: Exception) -> str:
    """Return what the network reported, in the system's words if it has any."""
    number = _system_number(error)
    if number:
        return os.strerror(number)
    unknown_host = [cause for cause in causes(error) if isinstance(cause, socket.gaierror)]
    return str(unknown_host[-1].strerror if unknown_host else error).rstrip(".")


def _system_number(error: Exception) -> int | None:
    """Return the system's number of an error, None if it has none."""
    numbers = [
        cause.errno
        for cause in causes(error)
        # The numbers of OpenSSL and of the resolver are not the system's.
        if isinstance(cause, OSError)
        and cause.errno
        and not isinstance(cause, ssl.SSLError | socket.gaierror)
    ]
    return numbers[-1] if numbers else None


def _tls_failure(where: str, error: Exception) -> Failure | None:
    """Return why no secure connection was made, None if TLS is not the cause."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return untrusted(where, cause.verify_message, cause.verify_code, error)
        if isinstance(cause, ssl.SSLError):
            return insecure(where, cause.reason or str(cause), error)
    return None
