"""New connections prove their peer, with all libraries that make connections here."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mlxcel_integrations.transport.peers import proving_peers
from tests.fakes.server import FakeServer

httpx2 = pytest.importorskip("httpx2")
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
KINDS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


class Peer:
    """A managed server that takes a connection for its own, or does not."""

    alive = True

    def __init__(self, answer: bool | Exception) -> None:
        self.server = self
        self.asked: list[tuple[Any, Any]] = []
        self._answer = answer

    def is_peer(self, connection: socket.socket) -> bool:
        self.asked.append((connection.family, connection.getpeername()))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[FakeServer]:
    path = tmp_path_factory.mktemp("s") / "s.sock" if request.param == "unix" else None
    with FakeServer(socket=path) as server:
        yield server


def statuses(library: Any, is_async: bool, server: FakeServer, peer: Any, count: int = 1) -> Any:
    """Ask for the health over one client, so many times."""
    url = "http://localhost/health" if server.socket else f"{server.url}/health"
    uds = str(server.socket) if server.socket else None

    async def ask() -> list[int]:
        transport = proving_peers(library.AsyncHTTPTransport(uds=uds), peer)
        async with library.AsyncClient(transport=transport) as client:
            return [(await client.get(url)).status_code for _ in range(count)]

    if is_async:
        return asyncio.run(ask())
    transport = proving_peers(library.HTTPTransport(uds=uds), peer)
    with library.Client(transport=transport) as client:
        return [client.get(url).status_code for _ in range(count)]


@LIBRARIES
@KINDS
def test_a_connection_is_proven_once_and_kept(
    library: Any, is_async: bool, server: FakeServer
) -> None:
    peer = Peer(answer=True)

    assert [200] * 3 == statuses(library, is_async, server, peer, 3)
    family = socket.AF_UNIX if server.socket else socket.AF_INET
    address = str(server.socket) if server.socket else (server.host, server.port)
    assert [(family, address)] == peer.asked
    assert 1 == server.connections


@LIBRARIES
@KINDS
def test_a_stranger_gets_no_byte(library: Any, is_async: bool, server: FakeServer) -> None:
    with pytest.raises(library.ConnectError, match="another program answers there"):
        statuses(library, is_async, server, Peer(answer=False))

    gc.collect()
    assert [] == server.requests


@KINDS
@pytest.mark.parametrize("library", [httpx])
def test_a_check_that_fails_leaves_no_connection(
    library: Any, is_async: bool, server: FakeServer
) -> None:
    with pytest.raises(ZeroDivisionError):
        statuses(library, is_async, server, Peer(ZeroDivisionError()))

    gc.collect()
    assert [] == server.requests


@LIBRARIES
@KINDS
def test_a_server_that_was_given_back_is_not_reached(
    library: Any, is_async: bool, server: FakeServer
) -> None:
    peer = Peer(answer=True)
    peer.alive = False

    with pytest.raises(library.ConnectError, match="this program closed the model"):
        statuses(library, is_async, server, peer)
    assert [] == server.requests


@KINDS
def test_a_transport_does_not_keep_its_server_alive(is_async: bool) -> None:
    peer = Peer(answer=True)
    kind: Any = httpx.AsyncHTTPTransport if is_async else httpx.HTTPTransport
    transport = proving_peers(kind(), peer)  # type: ignore[arg-type]  # as much as is used of it
    del peer
    gc.collect()

    assert transport._pool._network_backend._lease() is None


@KINDS
def test_without_a_managed_server_nobody_has_to_prove_anything(
    is_async: bool, server: FakeServer
) -> None:
    assert [200] == statuses(httpx, is_async, server, None)


def test_a_transport_of_another_make_is_refused() -> None:
    with pytest.raises(AttributeError):
        proving_peers(httpx.MockTransport(lambda _: httpx.Response(200)), Peer(answer=True))  # type: ignore[arg-type]  # as above
