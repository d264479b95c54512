"""What killed guards leave behind is removed, and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxcel_integrations.options.fields import ServerOptions
from mlxcel_integrations.supervisor.bind_address import choose_bind_address
from mlxcel_integrations.supervisor.cleanup import sweep, wait_for_end
from mlxcel_integrations.supervisor.guard import DIRECTORY_VARIABLE

from .conftest import runs
from .listeners import listener

SHARED = f"mlxcel-{os.geteuid()}"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def parent() -> Iterator[Path]:
    """A directory whose path leaves room for sockets."""
    with tempfile.TemporaryDirectory(prefix="l-", dir="/tmp") as directory:
        yield Path(directory)


def made(path: Path, *names: str) -> Path:
    """Make a directory as a guard does, with what its server leaves behind."""
    path.mkdir(0o700)
    for name in names:
        if name.endswith(".sock"):
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path / name))
        else:
            (path / name).touch()
    return path


def everything(parent: Path) -> list[str]:
    return sorted(str(path.relative_to(parent)) for path in parent.rglob("*"))


@contextlib.contextmanager
def guard_of(path: Path) -> Iterator[None]:
    """A process that holds a shared lock on a path."""
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_SH); "
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", code, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "\n" == process.stdout.readline()
        yield
        process.kill()


@pytest.mark.parametrize(
    "names", [[], ["server.sock"], ["server.sock", "broker.sock", "lock"], ["lock"]]
)
@pytest.mark.parametrize("name", ["mlxcel-run-_Ab-1234", f"{SHARED}/0123abcd"])
def test_what_nobody_holds_is_removed(parent: Path, name: str, names: list[str]) -> None:
    made(parent / SHARED)
    made(parent / name, *names)

    sweep(parent)

    assert [] == everything(parent)


@pytest.mark.parametrize("held", ["", "lock"])
def test_what_a_guard_holds_is_left_until_it_is_killed(parent: Path, held: str) -> None:
    directory = made(parent / "mlxcel-run-12345678", "server.sock", "lock")
    before = everything(parent)

    with guard_of(directory / held):
        sweep(parent)
        assert before == everything(parent)

    sweep(parent)
    assert [] == everything(parent)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("mlxcel-run-12345678", ["server.sock", "notes.txt"]),
        ("mlxcel-run-12345678", [".hidden"]),
        ("mlxcel-run-models", ["server.sock"]),
        ("mlxcel-run-123456789", []),
        ("mlxcel-run-1234567", []),
        ("mlxcel-run-1234 678", []),
        ("xmlxcel-run-12345678", []),
        ("other", ["server.sock"]),
    ],
)
def test_what_could_be_something_else_is_left(parent: Path, name: str, names: list[str]) -> None:
    made(parent / name, *names)
    before = everything(parent)

    sweep(parent)

    assert before == everything(parent)


def test_files_that_only_have_the_name_of_a_socket_are_left(parent: Path) -> None:
    (made(parent / "mlxcel-run-12345678") / "server.sock").write_text("mine")
    (made(parent / "mlxcel-22345678") / "lock").symlink_to("/etc/passwd")
    made(made(parent / "mlxcel-32345678") / "server.sock")
    (parent / "mlxcel-42345678").write_text("mine")
    before = everything(parent)

    sweep(parent)

    assert before == everything(parent)


@pytest.mark.parametrize("name", ["mlxcel-run-12345678", SHARED, f"{SHARED}/0123abcd"])
def test_links_are_not_followed(parent: Path, name: str) -> None:
    """Anybody can make a link in the directory for temporary files."""
    home = made(parent / "home")
    made(home / "empty")
    made(home / "full", "server.sock")
    (parent / name).parent.mkdir(0o700, exist_ok=True)
    (parent / name).symlink_to(home if name == SHARED else home / "empty")
    before = everything(parent)

    sweep(parent)

    assert before == everything(parent)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_can_enter_is_not_one_of_ours(parent: Path, mode: int) -> None:
    made(parent / "mlxcel-run-12345678", "server.sock").chmod(mode)
    made(made(parent / SHARED) / "0123abcd", "server.sock")
    (parent / SHARED).chmod(mode)
    before = everything(parent)

    sweep(parent)

    assert before == everything(parent)


@as_root
def test_what_belongs_to_another_user_is_left(parent: Path) -> None:
    os.chown(made(parent / "mlxcel-run-12345678", "server.sock"), 65534, 65534)
    os.chown(made(parent / SHARED), 65534, 65534)
    made(parent / SHARED / "0123abcd", "server.sock")
    before = everything(parent)

    sweep(parent)

    assert before == everything(parent)


def test_a_directory_that_is_not_there_has_nothing_to_sweep(parent: Path) -> None:
    sweep(parent / "none")

    assert [] == everything(parent)


def test_a_new_private_directory_sweeps_its_neighbours(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(parent))
    made(parent / "mlxcel-run-12345678", "server.sock")

    choose_bind_address(ServerOptions(), None)

    assert [] == everything(parent)


def test_thousands_of_neighbours_cost_little(parent: Path) -> None:
    for number in range(2000):
        (parent / f"other-{number}").touch()

    began = time.thread_time()
    sweep(parent)
    assert time.thread_time() - began < 0.1


# --------------------------------------------------------------------------- orphans


AROUND = pytest.mark.parametrize(
    "around",
    ["exec {}", "{} & wait", "setsid {} & wait", "{} &"],
    ids=["itself", "in a shell", "detached from a shell", "its shell has ended"],
)


@AROUND
def test_a_server_that_outlived_its_guard_is_killed(around: str, parent: Path) -> None:
    directory = made(parent / "mlxcel-run-12345678")
    with listener(directory / "server.sock", around=around, guard_directory=directory) as server:
        sweep(parent)

        assert not any(runs(pid) for pid in (server.leader, server.pid))
        assert [] == everything(parent)


def test_a_server_that_listens_elsewhere_is_killed_too(parent: Path) -> None:
    directory = made(parent / "mlxcel-run-12345678")
    with listener("127.0.0.1", guard_directory=directory) as server:
        sweep(parent)

        assert not runs(server.pid)
        assert [] == everything(parent)


@AROUND
def test_a_server_whose_guard_lives_is_left(around: str, parent: Path) -> None:
    directory = made(parent / "mlxcel-run-12345678")
    socket_path = directory / "server.sock"
    with (
        listener(socket_path, around=around, guard_directory=directory) as server,
        guard_of(directory),
    ):
        sweep(parent)

        assert runs(server.pid)
        assert ["mlxcel-run-12345678", "mlxcel-run-12345678/server.sock"] == everything(parent)


@AROUND
def test_a_server_without_the_mark_of_its_guard_is_killed(around: str, parent: Path) -> None:
    """A script may start it with another environment; nobody else listens in this directory."""
    directory = made(parent / "mlxcel-run-12345678")
    with listener(directory / "server.sock", around=around) as server:
        sweep(parent)

        assert not runs(server.pid)
        assert [] == everything(parent)


def test_a_server_of_another_guard_is_left(parent: Path) -> None:
    directory = made(parent / "mlxcel-run-12345678")
    other = parent / "mlxcel-run-87654321"
    with listener(directory / "server.sock", guard_directory=other) as server:
        sweep(parent)

        assert runs(server.pid)
        assert (directory / "server.sock").is_socket()


@as_root
def test_a_server_of_another_user_is_left(parent: Path) -> None:
    """It was root's to begin with: nobody else can enter the directory."""
    directory = made(parent / "mlxcel-run-12345678")
    with listener(directory / "server.sock", user=12345) as server:
        sweep(parent)

        assert runs(server.pid)


def test_this_process_is_left(parent: Path) -> None:
    """A program that a server has started may start servers, too."""
    directory = made(parent / "mlxcel-run-12345678", "server.sock")
    code = (
        "import pathlib, sys; from mlxcel_integrations.supervisor.cleanup import sweep; "
        "sweep(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(parent)],
        check=True,
        env={**os.environ, DIRECTORY_VARIABLE: str(directory)},
    )

    assert [] == everything(parent)


def test_a_killed_process_is_waited_for() -> None:
    child = subprocess.Popen(["sleep", "60"])
    child.kill()

    wait_for_end(child.pid)

    assert not runs(child.pid)
    child.wait()
    wait_for_end(child.pid)


# --------------------------------------------------------------------------- against a guard


def test_a_directory_is_never_taken_from_a_guard_that_checks(parent: Path) -> None:
    """Whoever locks a directory and finds it in its place keeps it, whenever a sweep runs."""
    path = parent / "mlxcel-run-12345678"
    code = "import pathlib, sys; from mlxcel_integrations.supervisor.cleanup import sweep\n"
    code += "print(flush=True)\nwhile True: sweep(pathlib.Path(sys.argv[1]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(parent)], stdout=subprocess.PIPE, text=True
    ) as sweeper:
        assert sweeper.stdout is not None
        sweeper.stdout.readline()
        try:
            for _ in range(300):
                descriptor = locked_directory(path)
                assert os.path.samestat(os.fstat(descriptor), path.stat())
                (path / "lock").touch()
                os.close(descriptor)
        finally:
            sweeper.kill()


def locked_directory(path: Path) -> int:
    """Make a directory and lock it, as a guard does."""
    while True:
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
            os.close(descriptor)
