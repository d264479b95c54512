"""Streams of the network end with the deadline of the request that is sent over them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx
import pytest

from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts
from mlxcel_integrations.transport import network
from mlxcel_integrations.transport.network import (
    WRITTEN_AT_ONCE,
    DeadlineBackend,
    DeadlineStream,
    keeping_deadlines,
    sending,
)


class Wire:
    """A stream of httpcore that notes what is written, and the limit of each wait."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.limits: list[float | None] = []

    def write(self, buffer: bytes, timeout: float | None) -> None:
        self.written.append(buffer)
        self.limits.append(timeout)

    def read(self, max_bytes: int, timeout: float | None) -> bytes:
        self.limits.append(timeout)
        return b"x"

    def close(self) -> None: ...

    def get_extra_info(self, info: str) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that tells its only entry."""
    now = [100.0]
    monkeypatch.setattr(network.time, "monotonic", lambda: now[0])
    return now


@contextlib.contextmanager
def sent_within(deadline: Deadline) -> Iterator[None]:
    """Send what is sent here as a part of a request with a deadline."""
    sending.deadline = deadline
    try:
        yield
    finally:
        sending.deadline = None


def stream_over(wire: Wire) -> DeadlineStream:
    kept: Any = wire
    return DeadlineStream(kept)


def test_each_wait_gets_what_is_left_of_the_total(clock: list[float]) -> None:
    wire = Wire()
    stream = stream_over(wire)
    with sent_within(Deadline(Timeouts(timeout=60, total_timeout=10), clock[0])):
        stream.write(b"request", 60)
        clock[0] += 4
        stream.read(1, 60)
        clock[0] += 7
        with pytest.raises(TimeoutError):
            stream.read(1, 60)

    assert [10, 6] == wire.limits


def test_a_large_body_is_written_in_parts_that_are_limited_each(clock: list[float]) -> None:
    wire = Wire()
    body = bytes(2 * WRITTEN_AT_ONCE + 1)
    with sent_within(Deadline(Timeouts(), clock[0])):
        stream_over(wire).write(body, 600)

    assert [WRITTEN_AT_ONCE, WRITTEN_AT_ONCE, 1] == list(map(len, wire.written))
    assert body == b"".join(wire.written)


def test_the_deadline_of_a_request_is_that_of_its_own_thread(clock: list[float]) -> None:
    wire = Wire()
    with sent_within(Deadline(Timeouts(total_timeout=1), clock[0])):
        other = threading.Thread(target=stream_over(wire).write, args=(b"request", 60))
        other.start()
        other.join()

    assert [60] == wire.limits


def test_a_transport_that_two_clients_share_is_changed_once() -> None:
    transport = httpx.HTTPTransport()
    backends = [keeping_deadlines(transport)._pool._network_backend for _ in range(2)]

    assert isinstance(backends[0], DeadlineBackend)
    assert backends[0] is backends[1]


def test_the_head_of_a_request_is_sent_with_its_body(clock: list[float]) -> None:
    wire = Wire()
    stream = stream_over(wire)
    post, body, end = b"POST /v1/embeddings HTTP/1.1\r\n\r\n", b'{"input": "POST "}', b""
    get = b"GET /health HTTP/1.1\r\n\r\n"
    for part in (post, body, end, get, end):
        stream.write(part, 60)

    assert [post + body, get] == wire.written


class NoAnswer:
    """A backend of httpcore whose connections take all of their time, which it notes."""

    def __init__(self, clock: list[float]) -> None:
        self._clock = clock
        self.waits: list[tuple[str, float]] = []
        self.sleep = time.sleep

    def connect_tcp(self, host: str, port: int, timeout: float) -> Any:
        self.waits.append((host, timeout))
        self._clock[0] += timeout
        raise httpcore.ConnectTimeout


ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1")


@pytest.mark.parametrize(("total", "shares"), [(None, [1, 1, 1, 2, 2, 2]), (3, [0.5] * 6)])
def test_the_addresses_of_a_host_share_the_time_of_a_connection(
    total: float | None, shares: list[float], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(2, 1, 6, "", (address, 80)) for address in ADDRESSES]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    backend: Any = NoAnswer(clock)
    with (
        sent_within(Deadline(Timeouts(total_timeout=total), clock[0])),
        pytest.raises(httpcore.ConnectTimeout),
    ):
        DeadlineBackend(backend).connect_tcp("host", 80, 9)

    assert list(zip(ADDRESSES * 2, shares, strict=True)) == backend.waits


def test_an_address_that_refuses_is_not_tried_again(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(2, 1, 6, "", (address, 80)) for address in ADDRESSES]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    tried: list[str] = []

    def connect(host: str, *_: object) -> Any:
        tried.append(host)
        raise httpcore.ConnectTimeout if host == ADDRESSES[1] else httpcore.ConnectError

    backend: Any = NoAnswer(clock)
    backend.connect_tcp = connect
    with pytest.raises(httpcore.ConnectTimeout):
        DeadlineBackend(backend).connect_tcp("host", 80, 9)

    assert [*ADDRESSES, ADDRESSES[1]] == tried


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("192.0.2.1", 80), "192.0.2.1"),
        (("2001:db8::1", 80, 0, 0), "2001:db8::1"),
        (("fe80::1", 80, 0, 4), "fe80::1%4"),
    ],
)
def test_a_link_local_address_keeps_its_interface(
    found: tuple[Any, ...], expected: str, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(10, 1, 6, "", found)])
    backend: Any = NoAnswer(clock)
    with pytest.raises(httpcore.ConnectTimeout):
        DeadlineBackend(backend).connect_tcp("host", 80, 9)

    assert [(expected, 9)] == backend.waits


@pytest.mark.parametrize("limit", [5, None])
def test_the_next_address_is_used_when_the_first_refuses(limit: float | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # On this machine, localhost may have an address of IPv6 on which nobody listens.
        backend = DeadlineBackend(httpcore.SyncBackend())
        stream = backend.connect_tcp("localhost", server.getsockname()[1], limit)

        assert server.getsockname() == stream.get_extra_info("server_addr")
        stream.close()


class Handshake:
    """A stream of httpcore that notes the limit of a handshake."""

    limit: float

    def start_tls(self, context: object, host: str, limit: float) -> Wire:
        self.limit = limit
        return Wire()

    def close(self) -> None: ...

    def get_extra_info(self, info: str) -> None: ...


def test_a_handshake_gets_what_is_left_of_the_total(clock: list[float]) -> None:
    plain: Any = Handshake()
    with sent_within(Deadline(Timeouts(total_timeout=5), clock[0])):
        clock[0] += 2
        DeadlineStream(plain).start_tls(None, "host", 10)

    assert 3 == plain.limit
