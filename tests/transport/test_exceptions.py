"""Exceptions of failed calls: what they hold, and when their classes are imported."""

from __future__ import annotations

import errno
import math
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from mlxcel_integrations.protocol.connection_failures import unreachable
from mlxcel_integrations.protocol.failures import Failure
from mlxcel_integrations.protocol.flow import Call
from mlxcel_integrations.protocol.timeouts import MAX_WAIT_SECONDS
from mlxcel_integrations.transport.exceptions import in_time, to_exception
from tests.fakes.server import FakeServer
from tests.faults.ways_to_call import WAYS, Way, each_way
from tests.transport.script import connection


def test_the_first_error_of_a_failure_is_its_cause() -> None:
    refused, outer = OSError(errno.ECONNREFUSED, "x"), httpx.ConnectError("as httpx says")
    outer.__cause__ = refused
    failure = unreachable("http://localhost:1", "refused", outer, never_sent=True)
    error = to_exception(connection(), failure, Call("/health"))

    assert refused is vars(error)["cause"]


@pytest.mark.parametrize(("status", "forgotten"), [(404, True), (405, True), (400, False)])
def test_a_route_that_is_missing_may_be_of_another_server(status: int, forgotten: bool) -> None:
    one = connection()
    one.model = "m"
    to_exception(one, Failure("NotFoundError", "gone", status=status), Call("/v1/models"))

    assert forgotten == (one.model is None)


@pytest.mark.parametrize(
    ("total", "imported", "expected"),
    [
        pytest.param(60, False, [58.0, "cancelled"], id="two seconds before its end"),
        pytest.param(1, False, [0.25, "cancelled"], id="a short one"),
        pytest.param(math.inf, False, [MAX_WAIT_SECONDS, "cancelled"], id="an endless one"),
        pytest.param(None, False, [], id="no limit"),
        pytest.param(60, True, [], id="nothing to import"),
    ],
)
def test_the_classes_are_imported_while_a_request_comes_close_to_its_limit(
    total: float | None, imported: bool, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", sys)
    if not imported:
        monkeypatch.delitem(sys.modules, "openai")
    told: list[Any] = []

    def call_later(seconds: float, _: Callable[[], None]) -> Any:
        told.append(seconds)
        return SimpleNamespace(cancel=lambda: told.append("cancelled"))

    with in_time(total, call_later)():
        pass

    assert expected == told


def test_the_classes_are_imported_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "openai", raising=False)
    began: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: began.append(thread))

    def call_at_once(_: float, function: Callable[[], None]) -> Any:
        function()
        return SimpleNamespace(cancel=lambda: None)

    with in_time(60, call_at_once)():
        (thread,) = began
    monkeypatch.undo()
    thread.run()

    assert not thread.daemon
    assert "mlxcel_integrations.transport.openai_errors" in sys.modules


@each_way(WAYS[:4])
def test_requests_that_are_answered_in_time_import_nothing(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer() as server:
        monkeypatch.delitem(sys.modules, "openai", raising=False)
        assert ("echo: hi", None) == way(server.url, total_timeout=60)

    assert "openai" not in sys.modules
