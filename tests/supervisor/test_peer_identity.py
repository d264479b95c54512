"""Only the server that was started is taken for it."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxcel_integrations.supervisor.peer_identity import (
    ProcessTree,
    is_ours,
    macos_peer_pid,
    peer_pid,
)
from mlxcel_integrations.transport.endpoint import Endpoint

from .listeners import listener

CHILD = "{} & wait"
"""A shell that stays around the server."""

OTHER_GROUP = (
    f"exec {shlex.quote(sys.executable)} -c "
    "'import subprocess, sys; subprocess.run(sys.argv[1:], process_group=0)' {}"
)
"""A program that starts the server in a group of its own, and stays around it."""


@pytest.fixture
def path() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="i-", dir="/tmp") as directory:
        yield Path(directory, "server.sock")


def at(path: Path) -> Endpoint:
    return Endpoint.parse(None, path)


def tcp(host: str, port: int) -> Endpoint:
    return Endpoint(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def led_by(leader: int) -> ProcessTree:
    """Return the processes of a server that has no guard."""
    return ProcessTree(leader, guard=leader)


# --------------------------------------------------------------------------- Unix sockets


def test_the_leader_of_the_group_answers_on_its_socket(path: Path) -> None:
    with listener(path) as server:
        assert is_ours(at(path), led_by(server.pid))


@pytest.mark.parametrize("around", [CHILD, OTHER_GROUP])
def test_what_a_wrapper_has_started_answers_for_it(path: Path, around: str) -> None:
    with listener(path, around=around) as server:
        assert server.pid != server.leader
        assert (around == CHILD) == (os.getpgid(server.pid) == server.leader)
        assert is_ours(at(path), led_by(server.leader))


def test_a_stranger_on_the_socket_is_not_the_server(path: Path) -> None:
    with listener(path), listener(path.with_name("other.sock")) as server:
        assert not is_ours(at(path), led_by(server.pid))


def test_a_server_whose_socket_was_replaced_is_not_the_one_that_answers(path: Path) -> None:
    with listener(path) as server:
        path.unlink()
        assert not is_ours(at(path), led_by(server.pid))
        with listener(path):
            assert not is_ours(at(path), led_by(server.pid))


def test_nobody_answers_on_a_socket_that_is_left_behind(path: Path) -> None:
    with listener(path) as server:
        pass

    assert path.is_socket()
    assert not is_ours(at(path), led_by(server.pid))


def test_the_peer_of_a_socket_is_the_process_that_listens(path: Path) -> None:
    with listener(path) as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert server.pid == peer_pid(client)


def test_macos_is_asked_for_the_peer_as_its_headers_say() -> None:
    """`SOL_LOCAL` is 0 and `LOCAL_PEERPID` is 2 in sys/un.h; the answer is an int."""

    class MacSocket:
        def getsockopt(self, level: int, option: int) -> int:
            return {(0, 2): 4711}[level, option]

    assert 4711 == macos_peer_pid(MacSocket())


# --------------------------------------------------------------------------- TCP


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "::1"),
        ("::", "::1"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
    ],
)
def test_the_group_answers_on_its_port(bound: str, reached: str) -> None:
    with listener(bound) as server, listener("127.0.0.1") as stranger:
        assert is_ours(tcp(reached, server.port), led_by(server.pid))
        assert not is_ours(tcp(reached, server.port), led_by(stranger.pid))


@pytest.mark.parametrize("around", [CHILD, OTHER_GROUP])
def test_what_a_wrapper_has_started_answers_on_its_port(around: str) -> None:
    with listener("127.0.0.1", around=around) as server:
        assert is_ours(tcp("127.0.0.1", server.port), led_by(server.leader))


@pytest.mark.parametrize(
    ("ours", "theirs", "reached"),
    [("0.0.0.0", "127.0.0.1", "127.0.0.1"), ("::", "::1", "::1"), ("::", "127.0.0.1", "127.0.0.1")],
)
def test_a_stranger_at_the_more_specific_address_answers_instead(
    ours: str, theirs: str, reached: str
) -> None:
    with listener(ours) as server:
        endpoint = tcp(reached, server.port)
        assert is_ours(endpoint, led_by(server.pid))
        with listener(theirs, server.port) as stranger:
            assert not is_ours(endpoint, led_by(server.pid))
            assert is_ours(endpoint, led_by(stranger.pid))


def test_a_name_with_a_stranger_at_one_of_its_addresses_is_not_trusted() -> None:
    """Which of its addresses a client connects to is not known."""
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 1, type=1)}
    if len(addresses) < 2:
        pytest.skip("localhost has one address here")
    with listener("127.0.0.1") as server, listener("::1", server.port):
        assert not is_ours(tcp("localhost", server.port), led_by(server.pid))


def test_nobody_answers_on_a_free_port() -> None:
    with listener("127.0.0.1") as server:
        pass

    assert not is_ours(tcp("127.0.0.1", server.port), led_by(server.pid))


def test_a_server_that_accepts_nobody_is_not_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_ours(tcp("127.0.0.1", server.getsockname()[1]), led_by(os.getpgrp()))


def test_a_host_without_an_address_is_nobodys() -> None:
    assert not is_ours(tcp("no.such.host.invalid", 1), led_by(os.getpgrp()))


def test_psutil_is_loaded_when_it_is_needed() -> None:
    module = "mlxcel_integrations.supervisor.managed_server"
    code = f"import sys, {module}; sys.exit('psutil' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
