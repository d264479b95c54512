"""What a request becomes that got no response, and the message that says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxcel_integrations.errors import MlxcelServerError
from mlxcel_integrations.protocol.connection_failures import (
    cut_by,
    insecure,
    no_slot,
    timed_out,
    unreachable,
    untrusted,
)
from mlxcel_integrations.protocol.failures import Failure

WHERE = "http://here:1"
CAUSE = OSError("why")
CRASH = MlxcelServerError("gone")


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (62, "Use an address that is in the certificate"),
        (64, "Use an address that is in"),
        (20, "verify="),
    ],
)
def test_certificates_that_are_not_trusted_are_told_with_advice(code: int, advice: str) -> None:
    found = untrusted(WHERE, "Something is wrong.", code, OSError())

    assert f"The certificate of {WHERE} is not trusted: Something is wrong." in found.message
    assert advice in found.message
    assert not found.retryable


def test_a_connection_that_is_not_secure_is_told_and_not_tried_again() -> None:
    found = insecure(WHERE, "WRONG_VERSION_NUMBER", OSError())

    assert f"No secure connection to {WHERE}: wrong version number." in found.message
    assert not found.retryable


def test_no_answer_is_told_from_a_lost_one() -> None:
    cause = OSError("refused")
    never = unreachable(WHERE, "Connection refused", cause, never_sent=True)
    lost = unreachable(WHERE, "it closed the connection", cause, never_sent=False)

    assert never.message.startswith(f"Cannot reach {WHERE}: Connection refused. ")
    assert lost.message.startswith(f"Lost the connection to {WHERE}: it closed the connection. ")
    assert (True, False) == (never.retryable, lost.retryable)
    assert cause is never.cause is lost.cause


def test_a_request_that_timed_out_is_never_sent_again() -> None:
    found = timed_out(WHERE, "timeout", 0.5, TimeoutError())

    assert ("APITimeoutError", False) == (found.exception, found.retryable)
    assert f"{WHERE} did not answer within 0.5 s (timeout=)" in found.message


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            lambda: unreachable(WHERE, "no", CAUSE, never_sent=False),
            f"Lost the connection to {WHERE}: no. Check that the server is running and listening "
            "there.",
        ),
        (
            lambda: unreachable(WHERE, "no", CAUSE, never_sent=False, few_files=True),
            f"Lost the connection to {WHERE}: no. Send fewer requests at once, or allow this "
            "process more files (ulimit -n).",
        ),
        (
            lambda: unreachable(WHERE, "no", CAUSE, never_sent=False, without_tls=True),
            f"Lost the connection to {WHERE}: no. Check that the server is running and listening "
            "there, and use http:// if it does not speak TLS.",
        ),
        (
            lambda: untrusted(WHERE, "self-signed.", 18, CAUSE),
            f"The certificate of {WHERE} is not trusted: self-signed. If it is the right server, "
            "pass as verify= a PEM file with the certificate of the authority that signed it.",
        ),
        (
            lambda: untrusted(WHERE, "mismatch", 62, CAUSE),
            f"The certificate of {WHERE} is not trusted: mismatch. Use an address that is in "
            "the certificate, or get a certificate for this one.",
        ),
        (
            lambda: insecure(WHERE, "WRONG_VERSION", CAUSE),
            f"No secure connection to {WHERE}: wrong version. Use http:// if the server does not "
            "speak TLS there, and pass client_cert= if it asks for a certificate.",
        ),
    ],
)
def test_a_missing_connection_is_described_in_full(
    told: Callable[[], Failure], message: str
) -> None:
    assert Failure("APIConnectionError", message, cause=CAUSE) == told()


def test_the_end_of_a_server_of_ours_is_passed_on() -> None:
    assert CRASH is unreachable(WHERE, "no", CAUSE, never_sent=True, crash=CRASH).crash


def test_silence_is_described_in_full() -> None:
    assert Failure(
        "APITimeoutError",
        f"{WHERE} did not answer within 0.25 s (timeout=): reading a long prompt takes a while. "
        "Raise the limit, or shorten the prompt.",
        cause=CAUSE,
    ) == timed_out(WHERE, "timeout", 0.25, CAUSE)


def test_slots_that_stay_busy_are_described_in_full() -> None:
    assert Failure(
        "APITimeoutError",
        f"All slots of {WHERE} were busy for 2 s (total_timeout=). Raise the limit, send fewer "
        "requests at once, or start the server with more slots.",
        cause=CAUSE,
    ) == no_slot(WHERE, "total_timeout", 2.0, CAUSE)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("timeout", "the server was silent for 2 s (timeout=)"),
        ("token_timeout", "no token came for 2 s (token_timeout=)"),
        ("total_timeout", "it took longer than 2 s (total_timeout=)"),
    ],
)
def test_the_limit_that_ended_an_answer_is_named(limit: str, expected: str) -> None:
    assert expected == cut_by(limit, 2.0)
