"""Steps of an exchange: what they tell about a response."""

from __future__ import annotations

import time

import httpx
import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.protocol.flow import Call
from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts
from mlxcel_integrations.transport.exchange import ask_once
from mlxcel_integrations.transport.steps import Incoming, Next, Send


def test_headers_are_found_by_lower_case_names_and_not_shown() -> None:
    """A server may send a key back in them, and a traceback with locals shows a response."""
    headers = [(b"Content-Type", b"text/plain"), (b"X-Served-By", b"m\xfcnchen"), (b"X-Key", b"k9")]
    incoming = Incoming(httpx.Response(200, headers=headers), None, None, Deadline(Timeouts(), 0))

    assert {"content-type": "text/plain", "x-served-by": "m\ufffdnchen", "x-key": "k9"} == (
        incoming.headers
    )
    assert "k9" not in repr(incoming)


@pytest.mark.parametrize(
    ("headers", "server"),
    [
        ({}, None),
        ({"x-served-by": ""}, None),
        ({"x-served-by": "gpu-1"}, "gpu-1"),
        ({"x-served-by": "g" * 81}, "g" * 80),
    ],
)
def test_the_server_that_answered_is_known_by_its_header(
    headers: dict[str, str], server: str | None
) -> None:
    response = httpx.Response(200, headers=headers)

    assert server == Incoming(response, None, None, Deadline(Timeouts(), 0)).server


def test_steps_that_are_dropped_at_a_read_take_no_other() -> None:
    """As when a coroutine is closed, which may not wait any more."""
    deadline = Deadline(Timeouts(), time.monotonic())
    with LLM(base_url="http://localhost:1") as llm:
        steps = ask_once(llm._connection, Call("/health"), deadline)
        assert isinstance(next(steps), Send)
        assert isinstance(steps.send(Incoming(httpx.Response(200), None, None, deadline)), Next)

        steps.close()
