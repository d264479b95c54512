"""Paths of sockets: which are refused, and which sockets are stale."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.unix_sockets import (
    MAX_SOCKET_PATH_BYTES,
    check_socket_path,
    is_socket_path,
    is_stale,
)


def bound(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    return server


def test_the_longest_path_that_passes_can_be_bound(short: Path) -> None:
    path = short / ("x" * (MAX_SOCKET_PATH_BYTES - len(f"{short}/.sock")) + ".sock")

    check_socket_path(str(path), "socket=")

    bound(path).close()
    assert MAX_SOCKET_PATH_BYTES == len(os.fsencode(path))
    with socket.socket(socket.AF_UNIX) as server, pytest.raises(OSError, match="too long"):
        server.bind(f"{path}x")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/tmp/" + "x" * MAX_SOCKET_PATH_BYTES + ".sock", "too long for a socket: it has"),
        ("/tmp/" + "ü" * 52 + ".sock", f"has 114 bytes.*allows {MAX_SOCKET_PATH_BYTES}"),
        ("/tmp/half-\ud83e.sock", "locale cannot encode.*PYTHONUTF8=1"),
        ("/tmp/\udce4.sock", "is not UTF-8"),
        ("/tmp/server.socket", r"must end in \.sock"),
        ("/no/such/directory/x.sock", "does not exist or is not writable"),
    ],
)
@pytest.mark.parametrize("option", ["socket=", "--host "])
def test_a_path_without_room_for_a_socket_is_refused_by_the_name_of_its_option(
    path: str, problem: str, option: str
) -> None:
    with pytest.raises(MlxcelError, match=f"{option}'.*{problem}"):
        check_socket_path(path, option)


@pytest.mark.parametrize("kind", ["file", "directory", "link to a socket", "link to nothing"])
def test_a_file_that_is_not_a_socket_is_refused_and_kept(kind: str, short: Path) -> None:
    path = short / "x.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(short / "other.sock")
    if kind == "link to a socket":
        bound(short / "other.sock").close()
    before = sorted(short.iterdir())

    with pytest.raises(MlxcelError, match="exists and is not a socket"):
        check_socket_path(str(path), "socket=")
    assert before == sorted(short.iterdir())


def test_a_socket_may_be_there_already(short: Path) -> None:
    with bound(short / "x.sock"):
        check_socket_path(str(short / "x.sock"), "socket=")


def test_a_socket_is_stale_when_nobody_listens_on_it(short: Path) -> None:
    path = short / "x.sock"
    assert not is_stale(str(path))
    with bound(path) as server:
        server.listen()
        assert not is_stale(str(path))
    assert is_stale(str(path))
    assert path.is_socket()


def test_a_server_that_accepts_nobody_has_no_stale_socket(short: Path) -> None:
    path = short / "x.sock"
    with bound(path) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.listen(0)
        waiting.connect(str(path))

        assert not is_stale(str(path))


@pytest.mark.parametrize(
    ("host", "expected"), [("/tmp/x.sock", True), ("x.sock", True), ("localhost", False)]
)
def test_servers_tell_a_socket_by_its_ending(host: str, expected: bool) -> None:
    assert expected is is_socket_path(host)
