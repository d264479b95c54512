"""Where a new server listens: never where somebody else is."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.options import ServerOptions
from mlxcel_integrations.supervisor.place import MAX_SOCKET_PATH_BYTES, Place, choose
from tests.fake_server import FakeServer


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory(prefix="p-", dir="/tmp") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


def on(path: Path | str) -> Place:
    return choose(ServerOptions(), str(path))


def leave_socket(path: Path) -> None:
    """Leave a socket behind on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def test_a_private_directory_is_for_one_server_alone(short: Path) -> None:
    place = choose(ServerOptions(), None)

    assert place.directory is not None
    assert short == place.directory.parent
    assert not place.directory.exists()
    assert str(place.directory / "server.sock") == place.endpoint.socket
    place.directory.mkdir()
    leave_socket(place.directory / "server.sock")
    place.clear()
    assert [] == list(short.iterdir())


def test_two_servers_get_two_directories(short: Path) -> None:
    places = [choose(ServerOptions(), None) for _ in range(2)]

    assert places[0].endpoint != places[1].endpoint


def test_a_runtime_directory_whose_path_is_too_long_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * MAX_SOCKET_PATH_BYTES)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setattr(tempfile, "tempdir", str(deep))

    place = choose(ServerOptions(), None)

    assert place.directory is not None
    assert Path("/tmp") == place.directory.parent


def test_the_users_own_path_is_taken_as_it_is(short: Path) -> None:
    place = on(short / "x.sock")

    assert (str(short / "x.sock"), None) == (place.endpoint.socket, place.directory)
    leave_socket(short / "x.sock")
    place.clear()
    assert [] == list(short.iterdir())


def test_a_socket_that_nobody_listens_on_is_removed(short: Path) -> None:
    leave_socket(short / "x.sock")

    on(short / "x.sock")

    assert [] == list(short.iterdir())


@pytest.mark.parametrize("kind", ["file", "directory", "link to a socket", "link to nothing"])
def test_what_is_no_socket_is_left_alone(kind: str, short: Path) -> None:
    path = short / "x.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(short / "other.sock")
    if kind == "link to a socket":
        leave_socket(short / "other.sock")
    before = sorted(short.iterdir())

    with pytest.raises(MlxcelError, match="is a file already, and no socket"):
        on(path)
    assert before == sorted(short.iterdir())


def test_a_socket_with_a_live_server_is_refused_and_goes_on_working(short: Path) -> None:
    path = short / "x.sock"
    with FakeServer(socket=path):
        with pytest.raises(MlxcelError, match=r"A server listens on socket=.*drop model="):
            on(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_server_that_took_the_path_meanwhile_keeps_it(short: Path) -> None:
    path = short / "x.sock"
    place = on(path)
    with FakeServer(socket=path):
        place.clear()
        assert path.is_socket()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/tmp/" + "x" * MAX_SOCKET_PATH_BYTES + ".sock", f"{MAX_SOCKET_PATH_BYTES} at most"),
        ("/tmp/" + "ü" * 52 + ".sock", f"has 114 bytes.*{MAX_SOCKET_PATH_BYTES} at most"),
        ("/tmp/server.socket", "must end in .sock"),
        ("/no/such/directory/x.sock", "does not exist or is not writable"),
    ],
)
def test_a_path_that_no_server_could_bind_is_refused(path: str, problem: str) -> None:
    with pytest.raises(MlxcelError, match=problem):
        on(path)


def test_the_longest_path_that_is_allowed_can_be_bound(short: Path) -> None:
    rest = MAX_SOCKET_PATH_BYTES - len(str(short)) - len("/.sock")
    path = short / ("x" * rest + ".sock")

    on(path)

    leave_socket(path)
    assert path.is_socket()


# --------------------------------------------------------------------------- TCP


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), (None, "127.0.0.1")]
)
def test_a_port_is_taken_as_given(host: str | None, reached: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    place = choose(ServerOptions(host=host, port=port), None)

    assert (f"http://{reached}:{port}", None) == (place.endpoint.url, place.directory)


def test_without_a_port_a_free_one_is_found() -> None:
    url = choose(ServerOptions(host="127.0.0.1"), None).endpoint.url

    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        pass


def test_a_port_that_is_taken_is_refused() -> None:
    with FakeServer() as server, pytest.raises(MlxcelError) as caught:
        choose(ServerOptions(port=server.port), None)

    assert f"Another program listens on port {server.port}" in str(caught.value)
    assert f"base_url='{server.url}'" in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "/tmp/x.sock"])
def test_a_host_that_is_not_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(MlxcelError, match=f"host='{host}' is no address of this machine"):
        choose(ServerOptions(host=host), None)


def test_a_socket_and_a_port_are_too_much(short: Path) -> None:
    with pytest.raises(MlxcelError, match="Both socket= and host= or port="):
        choose(ServerOptions(port=1), str(short / "x.sock"))
