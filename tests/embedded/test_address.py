"""An address is checked before a model is loaded, and only our own socket is removed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mlxcel_integrations.embedded.address import (
    check_address,
    remove_socket,
    remove_stale_socket,
    socket_identity,
)
from mlxcel_integrations.errors import MlxcelError
from tests.supervisor.listeners import leave_socket


def test_a_free_address_passes(place: Path) -> None:
    check_address(f"{place}/x.sock", 0)
    check_address("127.0.0.1", 0)
    check_address("localhost", 0)


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("none/x.sock", "does not exist"),
        ("a" * 110 + ".sock", "too long"),
        ("file", "must end in .sock"),
    ],
)
def test_a_path_without_room_for_a_socket_is_refused(host: str, problem: str, place: Path) -> None:
    with pytest.raises(MlxcelError, match=f"--host '{place}/{host}'.*{problem}"):
        check_address(f"{place}/{host}", 0)


def test_a_socket_that_was_left_behind_is_named_and_kept(place: Path) -> None:
    leave_socket(place / "x.sock")

    with pytest.raises(MlxcelError, match=r"x\.sock was left behind.*Delete it"):
        check_address(f"{place}/x.sock", 0)
    assert (place / "x.sock").is_socket()


def test_a_socket_of_a_running_server_is_named_and_kept(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{place}/x.sock")
        other.listen()
        with pytest.raises(MlxcelError, match=r"already listening on .*x\.sock"):
            check_address(f"{place}/x.sock", 0)
        remove_stale_socket(f"{place}/x.sock")
        assert (place / "x.sock").is_socket()


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(MlxcelError, match=f"Cannot listen on 127.0.0.1:{port}: Address alr"):
            check_address("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(MlxcelError, match=f"Cannot listen on {host}:80: .* Choose another --host"):
        check_address(host, 80)


def test_our_own_socket_is_removed(place: Path) -> None:
    path = place / "x.sock"
    leave_socket(path)

    remove_socket(str(path), socket_identity(str(path)))

    assert not path.exists()
    assert socket_identity(str(path)) is None


def test_a_later_socket_of_the_same_name_is_kept(place: Path) -> None:
    path = place / "x.sock"
    leave_socket(path)
    identity = socket_identity(str(path))
    path.rename(place / "moved.sock")
    leave_socket(path)

    remove_socket(str(path), identity)
    remove_socket(str(path), None)

    assert path.is_socket()


def test_only_a_stale_socket_is_removed(place: Path) -> None:
    leave_socket(place / "x.sock")

    for host in (f"{place}/x.sock", f"{place}/x.sock", "127.0.0.1"):
        remove_stale_socket(host)

    assert [] == list(place.iterdir())
