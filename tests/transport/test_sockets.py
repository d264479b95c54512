"""What is done below httpx: its network backend is wrapped, and its connections are ended."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from mlxcel_integrations.transport.sockets import hang_up, wrap_backend


@pytest.mark.parametrize("kind", [httpx.HTTPTransport, httpx.AsyncHTTPTransport])
def test_the_backend_of_a_transport_is_wrapped(kind: type[Any]) -> None:
    transport = kind()
    before = transport._pool._network_backend

    assert wrap_backend(transport, lambda backend: ("wrapped", backend))
    assert ("wrapped", before) == transport._pool._network_backend


def test_a_transport_without_a_backend_is_left_alone() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))

    assert not wrap_backend(transport, lambda backend: pytest.fail("There is none."))


class Stream:
    """A network stream of httpcore over one end of a pair of sockets."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def get_extra_info(self, info: str) -> Any:
        return self.connection if info == "socket" else None


def response(connection: socket.socket) -> httpx.Response:
    return httpx.Response(200, extensions={"network_stream": Stream(connection)})


def test_hanging_up_ends_the_connection_and_leaves_its_socket_to_httpx() -> None:
    own, other = socket.socketpair()
    with own, other:
        hang_up(response(own))

        assert b"" == other.recv(1)
        assert own.fileno() >= 0


def test_hanging_up_twice_or_without_a_socket_is_harmless() -> None:
    own, other = socket.socketpair()
    own.close()
    other.close()

    hang_up(response(own))
    hang_up(httpx.Response(200))
