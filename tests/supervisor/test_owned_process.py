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

    def start(
        script: str, *, path: Path | None = None, grace: float = 5.0, before_stop: str = ""
    ) -> OwnedProcess:
        before = ["/bin/sh", "-c", before_stop] if before_stop else []
        command = ["/bin/sh", "-c", script]
        socket = str(path) if path is not None else None
        environ = {**os.environ, "COLOUR": "green"}
        started.append(
            OwnedProcess(
                command,
                lambda: environ,
                socket,
                None,
                grace,
                ServerLog(None),
                StartLimit("m", 30),
                before,
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


# --------------------------------------------------------------------------- before it stops

ASKED = (
    "exec 2>/dev/null; trap 'echo asked; exit 0' TERM; echo ready; while true; do sleep 0.01; done"
)
"""A server that tells when it is asked to end."""


def ended(process: OwnedProcess) -> list[str]:
    """Return what a server has said by its end, and the command before that."""
    assert 0 == process.wait(10)
    assert wait_until(lambda: process.log.tail.endswith("asked"))
    return process.log.tail.splitlines()


def ready(process: OwnedProcess) -> OwnedProcess:
    assert wait_until(lambda: "ready" == process.log.tail)
    return process


def test_a_command_runs_before_the_server_is_asked_to_end(run: Run) -> None:
    process = ready(run(ASKED, before_stop="echo before $COLOUR"))
    process.terminate()

    assert ["ready", "before green", "asked"] == ended(process)


def test_a_command_that_hangs_leaves_the_server_a_part_of_its_grace(run: Run) -> None:
    process = ready(run(ASKED, grace=1.0, before_stop="echo $$; exec sleep 60"))
    process.terminate()

    _, pid, _ = ended(process)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.parametrize("again", [OwnedProcess.terminate, OwnedProcess.stop])
def test_a_second_order_to_stop_does_not_cut_the_command(
    again: Callable[[OwnedProcess], None], run: Run
) -> None:
    process = ready(run(ASKED, before_stop="sleep 0.3; echo before"))
    process.terminate()
    again(process)

    assert ["ready", "before", "asked"] == ended(process)


@pytest.mark.parametrize(
    ("grace", "end"),
    [(60.0, OwnedProcess.kill), (0.0, OwnedProcess.terminate)],
    ids=["kill", "no grace"],
)
def test_a_kill_waits_for_no_command(
    grace: float, end: Callable[[OwnedProcess], None], run: Run
) -> None:
    process = run("exec sleep 60", grace=grace, before_stop="sleep 60")
    end(process)

    assert -signal.SIGKILL == process.wait(10)


def test_a_kill_ends_the_command_as_well(run: Run) -> None:
    process = run("exec sleep 60", grace=60.0, before_stop="echo $$; exec sleep 60")
    process.terminate()
    assert wait_until(lambda: process.log.tail != "")
    process.kill()

    assert -signal.SIGKILL == process.wait(10)
    with pytest.raises(ProcessLookupError):
        os.kill(int(process.log.tail), 0)


def test_a_command_that_cannot_be_run_is_left_out() -> None:
    log, limit, command = ServerLog(None), StartLimit("m", 30), ["/bin/sh", "-c", ASKED]
    before = ["/no/such/program"]
    process = OwnedProcess(command, lambda: os.environ, None, None, 5.0, log, limit, before)
    ready(process).stop()

    assert ["ready", "asked"] == ended(process)
