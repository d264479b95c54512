"""The system tells which process holds the other end of a TCP connection."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlxcel_integrations.supervisor import tcp_peers
from mlxcel_integrations.supervisor.tcp_peers import holds_other_end

from .listeners import listener
from .test_guard import linux

MINE = os.getpid()


@pytest.fixture(params=[pytest.param("kernel", marks=linux), "psutil"], autouse=True)
def _source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the kernel, or psutil, as on other systems and in strict sandboxes."""

    def refuse(*_: object) -> None:
        raise PermissionError if request.param == "psutil" else AssertionError

    monkeypatch.setattr(
        tcp_peers, "_socket_inode" if request.param == "psutil" else "_sockets", refuse
    )


@contextmanager
def connected(bound: str, reached: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Listen in this process, and connect."""
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::") as server:
        port = server.getsockname()[1]
        with socket.create_connection((reached, port)) as client:
            yield server, client


def holds(client: socket.socket, *pids: int, accepted: bool = False) -> bool:
    return holds_other_end(client, lambda: pids, accepted=accepted)


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("127.0.0.2", "127.0.0.2"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("::", "127.0.0.1"),
    ],
)
def test_before_it_is_accepted_a_connection_is_the_listeners(bound: str, reached: str) -> None:
    with connected(bound, reached) as (server, client):
        assert holds(client, MINE)
        assert not holds(client, MINE, accepted=True)
        assert not holds(client, os.getppid())
        accepted, _ = server.accept()
        with accepted:
            assert holds(client, MINE, accepted=True)
            assert not holds(client, os.getppid(), accepted=True)


def test_a_process_among_others_is_found() -> None:
    with connected("127.0.0.1", "127.0.0.1") as (_, client):
        assert holds(client, os.getppid(), 2**22 + 1, MINE)
        assert not holds(client)


def test_nobody_holds_a_connection_whose_server_has_died() -> None:
    with listener("127.0.0.1") as server:
        client = socket.create_connection(("127.0.0.1", server.port))
        assert holds(client, server.pid)
    with client:
        client.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            client.recv(1)
        assert not holds(client, server.pid, MINE)


def test_another_connection_to_the_same_server_proves_nothing() -> None:
    with listener("127.0.0.1") as server, connected("127.0.0.1", "127.0.0.1") as (_, client):
        assert not holds(client, server.pid)
