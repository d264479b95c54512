"""A process with its guard: what it says, how it ends, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelServerError
from mlxcel_integrations.supervisor.logs import ServerLog
from mlxcel_integrations.supervisor.owned_process import OwnedProcess
from mlxcel_integrations.supervisor.single_flight import StartLimit

from .conftest import wait_until

Run = Callable[..., OwnedProcess]


@pytest.fixture
def run() -> Iterator[Run]:
    """Run shell lines as a server; it is stopped with the test."""
    started: list[OwnedProcess] = []

    def start(script: str, *, path: Path | None = None, grace: float = 5.0) -> OwnedProcess:
        command = ["/bin/sh", "-c", script]
        socket = str(path) if path is not None else None
        environ = {**os.environ, "COLOUR": "green"}
        started.append(
            OwnedProcess(
                command, lambda: environ, socket, None, grace, ServerLog(None), StartLimit("m", 30)
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.stop()


def test_it_runs_in_a_group_of_its_own_with_its_environment(run: Run) -> None:
    process = run("echo $COLOUR; exec sleep 60")

    assert process.poll() is None
    assert process.pid == os.getpgid(process.pid) != os.getpgrp()
    assert wait_until(lambda: "green" == process.log.tail)


def test_its_exit_status_is_told(run: Run) -> None:
    process = run("exit 3")

    assert 3 == process.wait(10) == process.poll()
    assert "exit status 3" == process.cause


def test_waiting_has_a_limit(run: Run) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run("exec sleep 60").wait(0.01)


@pytest.mark.parametrize(
    ("verb", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)]
)
def test_verbs_end_it(verb: str, number: int, run: Run) -> None:
    process = run("exec sleep 60")

    getattr(process, verb)()

    assert -number == process.wait(10)
    process.stop()
    process.stop()


def test_it_serves_only_when_ready_and_while_its_socket_is_there(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    process = run(f"touch {path}; exec sleep 60", path=path)
    assert wait_until(path.exists)
    assert not process.serves

    process.mark_ready()
    assert process.serves
    path.unlink()
    assert not process.serves
    path.touch()
    assert process.serves
    process.stop()
    assert not process.serves


def test_a_command_that_cannot_be_run_is_an_error() -> None:
    with pytest.raises(MlxcelServerError, match=r"^/no/such/program cannot be run: No such file"):
        OwnedProcess(
            ["/no/such/program"],
            lambda: os.environ,
            None,
            None,
            1.0,
            ServerLog(None),
            StartLimit("m", 30),
        )
