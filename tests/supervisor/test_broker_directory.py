"""The directory where processes find a broker: private, locked, and gone when it is not needed."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.supervisor.broker_directory import BrokerDirectory, unlock
from tests.supervisor.listeners import leave_socket


@pytest.fixture
def runtime() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def directory(runtime: Path) -> BrokerDirectory:
    return BrokerDirectory("name", {"XDG_RUNTIME_DIR": str(runtime)})


def test_it_is_the_users_own(directory: BrokerDirectory, runtime: Path) -> None:
    with directory.made():
        assert runtime / f"mlxcel-{os.geteuid()}" / "name" == directory.path
        assert directory.path / "broker.sock" == directory.broker
        for path in (directory.path, directory.path.parent):
            assert 0o700 == stat.S_IMODE(path.stat().st_mode)


def test_the_same_one_is_found_by_its_path(directory: BrokerDirectory) -> None:
    assert directory.broker == BrokerDirectory.at(directory.path).broker


def test_it_stays_only_with_something_in_it(directory: BrokerDirectory, runtime: Path) -> None:
    with directory.made():
        leave_socket(directory.broker)
    assert directory.broker.is_socket()

    with directory.made():
        directory.broker.unlink()
    assert [] == list(runtime.iterdir())


def test_one_that_others_can_enter_is_refused(directory: BrokerDirectory) -> None:
    directory.path.parent.mkdir(mode=0o755)

    with pytest.raises(PermissionError, match="other users can enter it"), directory.made():
        pass


def test_only_one_has_the_lock(directory: BrokerDirectory) -> None:
    other = BrokerDirectory.at(directory.path)
    with directory.made():
        lock = directory.try_lock()
        assert lock is not None
        assert other.try_lock() is None
        unlock(lock)

        again = other.try_lock()
        assert again is not None
        unlock(again)
        directory.remove()


def test_a_lock_that_was_removed_with_its_directory_is_not_there(
    directory: BrokerDirectory,
) -> None:
    with pytest.raises(FileNotFoundError):
        directory.try_lock()


def test_all_is_removed(directory: BrokerDirectory, runtime: Path) -> None:
    with directory.made():
        lock = directory.try_lock()
        assert lock is not None
        leave_socket(directory.broker)
        directory.remove()
        unlock(lock)

    assert [] == list(runtime.iterdir())


def test_what_a_killed_broker_leaves_is_removed(directory: BrokerDirectory, runtime: Path) -> None:
    directory.path.mkdir(parents=True)
    for path in (directory.path, directory.path.parent):
        path.chmod(0o700)
    leave_socket(directory.broker)

    directory.remove_if_abandoned()

    assert [] == list(runtime.iterdir())


def test_a_name_that_fits_nowhere_is_an_error() -> None:
    with pytest.raises(MlxcelError, match="path of every writable temporary directory"):
        BrokerDirectory("x" * 100)
