"""Diagnosis of failed requests: each cause has its message, limit and retry."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl

import httpx
import pytest

from mlxcel_integrations import MlxcelServerError
from mlxcel_integrations.secret import hidden
from mlxcel_integrations.transport.connection import Connection
from mlxcel_integrations.transport.diagnosis import (
    broken,
    hide_secrets,
    log_tail,
    unanswered,
)
from tests.transport.script import connection, managed

EXCEEDED = ("timeout", 5.0)


def ended(end: str | None, *, alive: bool = True) -> Connection:
    """Return the connection to a managed server that has ended so, or still runs."""
    return managed(alive=alive, log_tail="boom", end=lambda: end, poll=lambda: -9)


def caused_by(cause: Exception, kind: type[httpx.RequestError] = httpx.ConnectError) -> Exception:
    error = kind("as httpx says")
    error.__cause__ = cause
    return error


def caused_by_tls(cause: ssl.SSLError, **found: object) -> Exception:
    """Return the error of a handshake, with what OpenSSL has found."""
    for name, value in found.items():
        setattr(cause, name, value)
    return caused_by(cause)


UNANSWERED = {
    "refused": (
        caused_by(OSError(errno.ECONNREFUSED, "x")),
        "APIConnectionError",
        os.strerror(errno.ECONNREFUSED),
        True,
    ),
    "unknown host": (
        caused_by(socket.gaierror(-2, "Name unknown")),
        "APIConnectionError",
        "Name unknown",
        True,
    ),
    "too many open files": (
        caused_by(OSError(errno.EMFILE, "x")),
        "APIConnectionError",
        "open files",
        True,
    ),
    "closed without a word": (
        httpx.RemoteProtocolError(""),
        "APIConnectionError",
        "it closed the connection",
        False,
    ),
    "reset": (
        caused_by(OSError(errno.ECONNRESET, "x"), httpx.ReadError),
        "APIConnectionError",
        os.strerror(errno.ECONNRESET),
        False,
    ),
    "not accepted": (
        httpx.ConnectTimeout(""),
        "APIConnectionError",
        r"it accepted no connection within 10 s \(connect_timeout=\)",
        True,
    ),
    "name not looked up": (
        caused_by(socket.gaierror(-3, "silent"), httpx.ConnectTimeout),
        "APIConnectionError",
        r"name was not looked up within 10 s \(connect_timeout=\). Check the spelling of the host",
        True,
    ),
    "silent": (httpx.ReadTimeout(""), "APITimeoutError", r"within 5 s \(timeout=\)", False),
    "out of time": (TimeoutError(), "APITimeoutError", r"within 5 s \(timeout=\)", False),
    "no connection free": (httpx.PoolTimeout(""), "APITimeoutError", "200 connections", False),
    "not trusted": (
        caused_by_tls(
            ssl.SSLCertVerificationError(1, "x"), verify_message="it is old", verify_code=10
        ),
        "APIConnectionError",
        "certificate of http://localhost:1 is not trusted: it is old",
        False,
    ),
    "not TLS": (
        caused_by_tls(ssl.SSLError(1, "x"), reason="WRONG_VERSION_NUMBER"),
        "APIConnectionError",
        "No secure connection to http://localhost:1: wrong version number",
        False,
    ),
}


@pytest.mark.parametrize(
    ("error", "exception", "message", "retryable"), UNANSWERED.values(), ids=UNANSWERED
)
def test_what_kept_a_request_from_its_answer_is_told(
    error: Exception, exception: str, message: str, retryable: bool
) -> None:
    failure = unanswered(connection(), error, EXCEEDED)

    assert (exception, retryable) == (failure.exception, failure.retryable)
    assert re.search(message, failure.message)


def test_the_total_time_may_end_before_a_connection_is_accepted() -> None:
    failure = unanswered(connection(), httpx.ConnectTimeout(""), ("total_timeout", 3.0))

    assert "it accepted no connection within 3 s (total_timeout=)" in failure.message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ReadTimeout(""), "timeout="),
        (TimeoutError(), "timeout="),
        (caused_by(OSError(errno.ECONNRESET, "x"), httpx.ReadError), os.strerror(errno.ECONNRESET)),
        (httpx.RemoteProtocolError("peer closed."), "peer closed"),
        (httpx.ReadError(""), "the connection was closed"),
    ],
)
def test_what_cut_an_answer_is_told(error: Exception, expected: str) -> None:
    reason, log = broken(connection(), error, EXCEEDED)

    assert expected in reason
    assert "" == log


@pytest.mark.parametrize(
    ("one", "reason", "log"),
    [
        (ended("signal 9"), "signal 9", "boom"),
        (ended(None), "the connection was closed", ""),
        (ended(None, alive=False), "this program closed the model", ""),
    ],
    ids=["it has ended", "it runs", "its lease has ended"],
)
def test_the_end_of_a_managed_server_is_the_reason(one: Connection, reason: str, log: str) -> None:
    assert (reason, log) == broken(one, httpx.ReadError(""), EXCEEDED)


def test_the_crash_of_a_managed_server_is_raised_with_its_log() -> None:
    one = ended("signal 9")
    error = unanswered(one, httpx.ReadError(""), EXCEEDED).crash

    assert isinstance(error, MlxcelServerError)
    assert ("boom", -9) == (error.stderr, error.returncode)
    assert ("boom", "") == (log_tail(one), log_tail(ended(None, alive=False)))


def test_keys_and_headers_are_taken_out_of_errors_and_their_causes() -> None:
    key = hidden("sk-secret-key-1234")
    request = httpx.Request("GET", "http://localhost:1", headers={"authorization": "Bearer x"})
    inner = ValueError("refused: sk-secret-key-1234")
    error = httpx.ReadError("got sk-secret-key-1234", request=request)
    error.__cause__ = inner
    inner.__context__ = error
    hide_secrets(error)

    assert key is not None
    assert "secret" not in f"{error} {inner}"
    assert "authorization" not in error.request.headers
