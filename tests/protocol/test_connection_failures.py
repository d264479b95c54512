"""What a request becomes that got no response, and the message that says so."""

from __future__ import annotations

from mlxcel_integrations.errors import MlxcelServerError
from mlxcel_integrations.protocol.connection_failures import (
    timed_out,
    unreachable,
)

WHERE = "http://here:1"
CAUSE = OSError("why")
CRASH = MlxcelServerError("gone")


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


def test_the_end_of_a_server_of_ours_is_passed_on() -> None:
    assert CRASH is unreachable(WHERE, "no", CAUSE, never_sent=True, crash=CRASH).crash
