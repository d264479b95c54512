"""Exchanges: which requests are sent again, what is read of an answer, and what is closed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from mlxcel_integrations import MlxcelError, MlxcelServerError, MlxcelStreamError
from mlxcel_integrations.protocol.failures import Failure
from mlxcel_integrations.protocol.flow import Call, Flow
from mlxcel_integrations.protocol.retries import Retries
from mlxcel_integrations.protocol.timeouts import Deadline
from mlxcel_integrations.transport import exchange
from mlxcel_integrations.transport.connection import Connection
from mlxcel_integrations.transport.steps import Close, Incoming, Next, Steps
from tests.transport.script import Script, connection, incoming

CALL = Call("/v1/models", expected=frozenset())
OPTIONAL = Call("/props", optional=True)
BUSY = b'{"error": {"message": "busy", "type": "unavailable"}}'


def asking(call: Call) -> Flow[Any]:
    return (yield call)


def asked(script: Script, call: Call = CALL, **options: Any) -> Any:
    """Return what a flow is sent as the answer to its call."""
    return script.run(exchange.run(connection(**options), asking(call)))


@pytest.mark.parametrize(
    "pieces", [(b'{"data": [1]}',), (b'{"da', b'ta": [1]}'), (b"", b'{"data": [1]}')]
)
def test_an_answer_is_read_to_its_end_and_closed(pieces: tuple[bytes, ...]) -> None:
    script = Script(incoming(*pieces))

    assert {"data": [1]} == asked(script)
    assert ["Send", *["Next"] * (len(pieces) + 1), "Close"] == script.done


RETRIED = {
    "busy": lambda: incoming(BUSY, status=503),
    "too many requests": lambda: incoming(b"", status=429),
    "not reachable": lambda: httpx.ConnectError("refused"),
    "not accepted": lambda: httpx.ConnectTimeout(""),
}
NOT_RETRIED = {
    "failed": lambda: incoming(b"", status=500),
    "refused": lambda: incoming(b"", status=400),
    "lost": lambda: httpx.ReadError("reset"),
    "silent": lambda: httpx.ReadTimeout(""),
}


@pytest.mark.parametrize("fault", RETRIED.values(), ids=RETRIED)
def test_what_no_server_has_begun_is_sent_again(fault: Any) -> None:
    script = Script(fault(), fault(), incoming(b"[]"))

    assert [] == asked(script)
    assert 3 == script.done.count("Send")
    with pytest.raises(Exception, match="localhost:1"):
        asked(Script(fault(), fault(), fault()))
    with pytest.raises(Exception, match="localhost:1"):
        asked(Script(fault()), max_retries=0)


def test_nothing_is_asked_while_the_program_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "sys", SimpleNamespace(is_finalizing=lambda: True))
    script = Script()

    with pytest.raises(MlxcelServerError, match="The program is ending"):
        asked(script)
    assert [] == script.done


@pytest.mark.parametrize("fault", NOT_RETRIED.values(), ids=NOT_RETRIED)
def test_what_a_server_may_have_begun_is_not_sent_again(fault: Any) -> None:
    script = Script(fault())
    with pytest.raises(Exception, match="localhost:1"):
        asked(script)

    assert 1 == script.done.count("Send")


def test_a_pause_beyond_the_end_of_the_request_is_not_taken() -> None:
    script = Script(incoming(BUSY, status=503, retry_after="30"))
    with pytest.raises(Exception, match="busy"):
        asked(script, total_timeout=20.0)

    assert [0.0] * len(script.slept) == script.slept


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda: incoming(b'{"a": 1}'), {"a": 1}),
        (lambda: incoming(b"<html>"), None),
        (lambda: incoming(b"", status=404), 404),
        (lambda: incoming(BUSY, status=503), 503),
    ],
)
def test_an_optional_call_is_made_once(answer: Any, expected: Any) -> None:
    script = Script(answer())
    found = asked(script, OPTIONAL)

    assert expected == (found.status if isinstance(found, Failure) else found)
    assert 1 == script.done.count("Send")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: incoming(b"<html>"), "did not return JSON"),
        (lambda: incoming(b"[1", httpx.ReadError("")), "localhost:1"),
        (lambda: incoming(b"[" + b"1," * 50), "more than 64 bytes"),
    ],
)
def test_an_answer_that_cannot_be_used_is_closed_and_told(answer: Any, message: str) -> None:
    script = Script(answer())
    with pytest.raises(Exception, match=message):
        asked(script, CALL._replace(most_bytes=64))

    assert 1 == script.done.count("Close")


def test_no_more_is_read_of_an_answer_than_may_be() -> None:
    script = Script(incoming(*[b"1" * 40] * 100))
    with pytest.raises(MlxcelError, match="more than 64 bytes"):
        asked(script, CALL._replace(most_bytes=64))

    assert 2 == script.done.count("Next")


@pytest.mark.parametrize("status", [200, 503])
def test_a_compressed_answer_is_not_unpacked(status: int) -> None:
    script = Script(incoming(b"x", status=status, content_encoding="gzip"))
    with pytest.raises(MlxcelStreamError, match="compressed its answer"):
        asked(script)

    assert ["Send", "Close"] == script.done


def test_a_request_that_is_given_up_takes_no_further_step() -> None:
    """As a generator that is being closed cannot."""
    steps: Steps[Any] = exchange.run(connection(), asking(CALL))
    next(steps)
    assert isinstance(steps.send(incoming(b"[]")), Next)
    steps.close()


def test_a_body_whose_reading_is_cancelled_is_closed() -> None:
    steps: Steps[Any] = exchange.run(connection(), asking(CALL))
    next(steps)
    steps.send(incoming(b"[]"))

    assert isinstance(steps.throw(KeyboardInterrupt()), Close)
    with pytest.raises(KeyboardInterrupt):
        next(steps)


def test_a_response_is_returned_unread() -> None:
    one: Connection = connection()
    answer = incoming(b"x")
    steps = exchange.respond(one, CALL, Deadline(one.timeouts, 0.0), Retries(2))
    found: Incoming | Failure = Script(answer).run(steps)

    assert answer is found
