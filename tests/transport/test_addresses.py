"""Addresses of hosts: only names are looked up in a thread, and connections share the time."""

from __future__ import annotations

import socket
import threading
from typing import Any

import httpcore
import pytest

from mlxcel_integrations.transport import addresses
from mlxcel_integrations.transport.addresses import look_up, lookup_errors, timed_attempts


@pytest.mark.parametrize(
    ("host", "in_thread"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("fe80::1%1", False),
        ("localhost", False),
        ("api.localhost", True),
        ("models.invalid", True),
        ("127.0.0.1.invalid", True),
    ],
)
def test_only_a_name_is_looked_up_in_a_thread(
    host: str, in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_by: list[int] = []

    def answer(*_: Any, **__: Any) -> Any:
        asked_by.append(threading.get_ident())
        return [(2, 1, 6, "", (host, 80))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)

    assert [host] == look_up(host, 80).result(20)
    assert in_thread == (asked_by != [threading.get_ident()])


def test_a_name_is_looked_up_here_where_no_thread_can_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(addresses.threading.Thread, "start", fail)

    assert isinstance(look_up("models.invalid", 80).exception(0), socket.gaierror)


@pytest.mark.parametrize("host", ["models..test", "m" * 64 + ".test"])
def test_a_name_that_no_host_can_have_is_told_as_unknown(host: str) -> None:
    with pytest.raises(socket.gaierror, match="no host can have this name"):
        look_up(host, 80).result(20)


@pytest.mark.parametrize(
    ("end", "silent", "attempts"),
    [
        (None, "abc", [("a", 1), ("b", 1), ("c", 1), ("a", None), ("b", None), ("c", None)]),
        (109.0, "abc", [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)]),
        (103.0, "abc", [("a", 0.5), ("b", 0.5), ("c", 0.5), ("a", 0.5), ("b", 0.5), ("c", 0.5)]),
        (109.0, "b", [("a", 1), ("b", 1), ("c", 1), ("b", 8)]),
        (109.0, "ac", [("a", 1), ("b", 1), ("c", 1), ("a", 3.5), ("c", 3.5)]),
        (None, "", [("a", 1), ("b", 1), ("c", 1)]),
    ],
)
def test_addresses_share_the_time_that_is_left_and_only_silent_ones_are_tried_twice(
    end: float | None,
    silent: str,
    attempts: list[tuple[str, float | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(addresses.time, "monotonic", lambda: now[0])
    made, unanswered = [], list[str]()
    for address, share in timed_attempts(["a", "b", "c"], end, unanswered):
        made.append((address, share))
        if address in silent:
            unanswered.append(address)
            now[0] += share or 0

    assert attempts == made


@pytest.mark.parametrize(("end", "share"), [(None, None), (109.0, 9)])
def test_the_only_address_gets_all_of_the_time(
    end: float | None, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses.time, "monotonic", lambda: 100.0)

    assert [("a", share)] == list(timed_attempts(["a"], end, []))


@pytest.mark.parametrize(
    ("error", "expected", "number"),
    [
        (TimeoutError(), httpcore.ConnectTimeout, socket.EAI_AGAIN),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), httpcore.ConnectError, socket.EAI_NONAME),
    ],
    ids=["silence", "an unknown name"],
)
def test_a_lookup_that_fails_is_an_error_of_httpcore_that_tells_why(
    error: OSError, expected: type[Exception], number: int
) -> None:
    with pytest.raises(expected) as caught, lookup_errors():
        raise error

    assert isinstance(caught.value.__context__, socket.gaierror)
    assert number == caught.value.__context__.errno
