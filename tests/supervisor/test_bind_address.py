"""Where a new server listens: never where somebody else is."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext as nothing
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.supervisor.bind_address import (
    BindAddress,
    choose_bind_address,
    port_was_taken,
)
from mlxcel_integrations.supervisor.guard import remove_socket
from tests.fakes.ports import free_port
from tests.fakes.server import FakeServer
from tests.supervisor.listeners import leave_socket

from .conftest import Fake

as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user"
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory(prefix="p-", dir="/tmp") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


@contextlib.contextmanager
def other_user() -> Iterator[None]:
    """Be a user without rights."""
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(65534, 65534, 0)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def on(path: Path | str) -> BindAddress:
    return choose_bind_address(ServerOptions(), str(path))


def test_a_private_directory_is_for_one_server_alone(short: Path) -> None:
    place = choose_bind_address(ServerOptions(), None)

    assert place.directory is not None
    assert short == place.directory.parent
    assert not place.directory.exists()
    assert str(place.directory / "server.sock") == place.endpoint.socket
    place.directory.mkdir()
    leave_socket(place.directory / "server.sock")
    remove_socket(str(place.endpoint.socket), place.directory)
    assert [] == list(short.iterdir())


def test_two_servers_get_two_directories(short: Path) -> None:
    places = [choose_bind_address(ServerOptions(), None) for _ in range(2)]

    assert places[0].endpoint != places[1].endpoint


def test_the_users_own_path_is_taken_as_it_is(short: Path) -> None:
    place = on(short / "x.sock")

    assert str(short / "x.sock") == place.endpoint.socket
    assert place.directory is not None
    assert short == place.directory.parent
    leave_socket(short / "x.sock")
    remove_socket(str(place.endpoint.socket), place.directory)
    assert [] == list(short.iterdir())


def test_a_socket_that_nobody_listens_on_is_removed(short: Path) -> None:
    leave_socket(short / "x.sock")

    on(short / "x.sock")

    assert [] == list(short.iterdir())


def test_a_socket_with_a_live_server_is_refused_and_goes_on_working(short: Path) -> None:
    path = short / "x.sock"
    with FakeServer(socket=path):
        with pytest.raises(MlxcelError, match=r"already listening on socket=.*drop model="):
            on(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_server_that_took_the_path_meanwhile_keeps_it(short: Path) -> None:
    path = short / "x.sock"
    place = on(path)
    with FakeServer(socket=path):
        remove_socket(str(place.endpoint.socket), place.directory)
        assert path.is_socket()


def test_a_path_where_no_server_could_make_its_socket_is_refused(short: Path) -> None:
    (short / "x.sock").write_text("precious")

    with pytest.raises(MlxcelError, match=r"socket='.*x\.sock' exists and is not a socket"):
        on(short / "x.sock")
    assert "precious" == (short / "x.sock").read_text()


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o777, True), (0o773, True), (0o1777, False), (0o775, False)]
)
def test_a_directory_where_anybody_can_replace_the_socket_is_refused(
    short: Path, mode: int, refused: bool
) -> None:
    short.chmod(mode)
    with pytest.raises(MlxcelError, match="can replace") if refused else nothing():
        on(short / "x.sock")


@as_root
def test_a_directory_that_this_user_cannot_write_is_refused(short: Path) -> None:
    with other_user(), pytest.raises(MlxcelError, match="does not exist or is not writable"):
        on(short / "x.sock")


@as_root
def test_a_socket_that_another_user_left_behind_is_refused_and_kept(short: Path) -> None:
    """In /tmp everybody can make a socket, and only its owner can remove it."""
    short.chmod(0o1777)
    leave_socket(short / "x.sock")
    (short / "x.sock").chmod(0o777)

    with other_user(), pytest.raises(MlxcelError, match=r"cannot be removed: .* not permitted"):
        on(short / "x.sock")
    assert (short / "x.sock").is_socket()


@as_root
def test_another_user_cannot_connect_to_a_managed_server(fake: Fake) -> None:
    """Whatever the umask of the program says, and wherever the directory is."""
    fake.runtime.chmod(0o1777)
    before = os.umask(0)
    try:
        server = fake.server(fake.binary()).start()
    finally:
        os.umask(before)

    def status() -> int:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(server.socket))

    directory = Path(str(server.socket)).parent
    with other_user():
        assert errno.EACCES == status()
    assert 0 == status()
    # Nor would the socket let them in, which a user may put into a directory for all.
    directory.chmod(0o711)
    with other_user():
        assert errno.EACCES == status()


# --------------------------------------------------------------------------- TCP


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), (None, "127.0.0.1")]
)
def test_a_port_is_taken_as_given(host: str | None, reached: str) -> None:
    port = free_port()

    place = choose_bind_address(ServerOptions(host=host, port=port), None)

    assert f"http://{reached}:{port}" == place.endpoint.url


def test_a_port_needs_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be had, what a killed guard leaves is not found, but the server starts."""
    monkeypatch.setattr("os.access", lambda *_: False)

    assert choose_bind_address(ServerOptions(host="127.0.0.1"), None).directory is None


def test_without_a_port_a_free_one_is_found() -> None:
    url = choose_bind_address(ServerOptions(host="127.0.0.1"), None).endpoint.url

    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        pass


def test_a_port_that_is_taken_is_refused() -> None:
    with FakeServer() as server, pytest.raises(MlxcelError) as caught:
        choose_bind_address(ServerOptions(port=server.port), None)

    assert f"Another program listens on port {server.port}" in str(caught.value)
    assert f"base_url='{server.url}'" in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "/tmp/x.sock"])
@pytest.mark.parametrize("port", [None, 8080])
def test_a_host_that_is_not_of_this_machine_is_refused(host: str, port: int | None) -> None:
    with pytest.raises(MlxcelError, match=f"host='{host}' is not an address of this machine"):
        choose_bind_address(ServerOptions(host=host, port=port), None)


@pytest.mark.parametrize(
    "log",
    [
        "Error: failed to bind\n\nCaused by:\n    Address already in use (os error 98)",
        "Caused by:\n    Address already in use (os error 48)",
        'Os { code: 98, kind: AddrInUse, message: "Address already in use" }',
        "Error: cannot bind 127.0.0.1:8080: address in use",
        "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
        "Cannot listen on 127.0.0.1:8080: Address already in use. Choose another --host or --port.",
        "OSError: [Errno 98] Address already in use",
        "listen EADDRINUSE: 127.0.0.1:8080",
        "ERROR mlxcel: port 8080 is already in use",
    ],
)
def test_a_server_that_lost_its_port_is_told_by_its_log(log: str) -> None:
    assert port_was_taken(f"INFO mlxcel starting\n{log}\n")


@pytest.mark.parametrize(
    "log",
    [
        "",
        "Error: model path not found: /address/port",
        "Error: failed to bind 127.0.0.1:80\n\nCaused by:\n    Permission denied (os error 13)",
        "INFO mlxcel: 98 % of 48 layers loaded, memory in use: 8080 MB",
        "INFO listening on http://127.0.0.1:8080",
    ],
)
def test_another_failure_is_not_taken_for_a_lost_port(log: str) -> None:
    assert not port_was_taken(log)


@pytest.mark.parametrize("name", ["mlxcel", "llama-server", "mlxcel-server"])
def test_a_port_that_is_lost_to_another_server_is_known_from_its_log(fake: Fake, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        command = [fake.binary(name), *(["serve"] if name == "mlxcel" else []), "-m", "m"]
        port = str(other.getsockname()[1])
        result = subprocess.run(
            [*command, "--port", port],
            capture_output=True,
            text=True,
            check=False,
            # The fixture ends what is left of each group.
            process_group=0,
        )

    assert 1 == result.returncode
    assert port_was_taken(result.stderr)


def test_a_socket_and_a_port_are_too_much(short: Path) -> None:
    with pytest.raises(MlxcelError, match="Both socket= and host= or port="):
        choose_bind_address(ServerOptions(port=1), str(short / "x.sock"))
