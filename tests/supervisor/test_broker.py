"""A broker keeps its server for as long as somebody has a lease."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations.supervisor.broker import READY, BrokerConfig
from mlxcel_integrations.supervisor.broker_directory import BrokerDirectory
from mlxcel_integrations.supervisor.shared_start import _run_broker
from mlxcel_integrations.supervisor.single_flight import StartLimit

from .conftest import runs, wait_until


class Lease:
    """A connection to a broker, which has sent its greeting."""

    def __init__(self, broker: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(broker))
        self._lines = self._socket.makefile()
        self.greeting = self.next_report("pid", "error")

    def next_report(self, *kinds: str) -> dict[str, Any]:
        """Return the next report that has one of these fields."""
        for line in self._lines:
            report: dict[str, Any] = json.loads(line)
            if report.keys() & set(kinds):
                return report
        raise AssertionError(f"the broker closed the lease without {kinds}")

    def say(self, line: bytes) -> None:
        self._socket.sendall(line)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


Leases = Callable[..., list[Lease]]


@pytest.fixture
def leases() -> Iterator[Leases]:
    """Start a broker and take leases; it must end, and leave nothing, once they are closed."""
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as runtime:
        directory = BrokerDirectory("name", {"XDG_RUNTIME_DIR": runtime})
        directory.path.parent.mkdir(0o700)
        directory.path.mkdir(0o700)
        taken: list[Lease] = []

        def start(config: BrokerConfig, count: int = 1) -> list[Lease]:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(directory.broker))
                listener.listen()
                limit = StartLimit("m", 30)
                _run_broker(listener, directory.path, config, lambda: os.environ, limit)
            taken.extend(Lease(directory.broker) for _ in range(count))
            return taken

        yield start
        for lease in taken:
            lease.close()
        assert wait_until(lambda: [] == list(Path(runtime).iterdir()))


def config(script: str) -> BrokerConfig:
    return BrokerConfig(["/bin/sh", "-c", script], "http://localhost:1", None, None, 5.0)


def test_a_configuration_survives_a_command_line_whatever_bytes_are_in_it() -> None:
    command = ["/bin/mlxcel", "", "caf\udce9", "模型", 'a "b" \n']
    for path, directory in (("/run/\udcff/x.sock", Path("/run/\udcff")), (None, None)):
        argument = BrokerConfig(command, "http://x:1", path, directory, 1.5).to_argument()
        copy = BrokerConfig.from_argument(argument)

        assert argument.isascii()
        assert (command, "http://x:1", path) == (copy.command, copy.url, copy.path)
        assert (directory, 1.5) == (copy.directory, copy.grace)


def test_a_lease_is_told_the_server_its_output_and_its_end(leases: Leases, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (lease,) = leases(config(f"echo hello; until [ -e {seen} ]; do sleep 0.02; done; exit 3"))

    assert ("http://localhost:1", None) == (lease.greeting["url"], lease.greeting["socket"])
    assert runs(lease.greeting["pid"])
    seen.touch()
    said = ""
    while "hello\n" not in said:
        said += lease.next_report("log")["log"]
    assert {"returncode": 3, "cause": "exit status 3"} == lease.next_report("returncode")


def test_the_server_ends_with_its_last_lease(leases: Leases) -> None:
    first, second = leases(config("exec sleep 60"), 2)
    assert first.greeting == second.greeting

    first.close()
    time.sleep(0.1)
    assert runs(first.greeting["pid"])
    second.close()

    assert wait_until(lambda: not runs(first.greeting["pid"]))


def test_a_server_that_was_ready_stays_for_a_while(leases: Leases) -> None:
    (lease,) = leases(config("exec sleep 60"))
    lease.say(b"%s %f\n" % (READY, 1.0))
    lease.close()

    time.sleep(0.2)
    assert runs(lease.greeting["pid"])
    assert wait_until(lambda: not runs(lease.greeting["pid"]))


@pytest.mark.parametrize(("word", "number"), [(b"stop\n", -15), (b"kill\n", -9)])
def test_a_lease_can_end_the_server_for_all(word: bytes, number: int, leases: Leases) -> None:
    first, second = leases(config("exec sleep 60"), 2)

    second.say(word)

    assert number == first.next_report("returncode")["returncode"]


def test_a_command_that_cannot_be_run_is_told_to_the_first_lease(leases: Leases) -> None:
    (lease,) = leases(BrokerConfig(["/no/such/program"], "http://localhost:1", None, None, 1.0))

    assert "/no/such/program cannot be run" in lease.greeting["error"]
