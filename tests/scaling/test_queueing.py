"""The simulation of the planning page agrees with the theory of queues."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "docs" / "scaling" / "queueing.py"


@pytest.fixture(scope="module")
def queueing() -> Any:
    spec = spec_from_file_location("queueing", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Dataclasses look up their module.
    sys.modules["queueing"] = module
    spec.loader.exec_module(module)
    return module


def mean_value_analysis(users: int, pause: float, service: float) -> float:
    """The mean time in a queue with one server, exact for exponential times."""
    length = time = 0.0
    for count in range(1, users + 1):
        time = service * (1 + length)
        length = time * count / (pause + time)
    return time


@pytest.mark.parametrize("users", [2, 5, 10])
def test_one_slot_is_as_the_theory_says(queueing: Any, users: int) -> None:
    server = queueing.Server(speeds=[50.0], reading=500.0)
    use = queueing.Use(pause=60.0, prompt=500.0, answer=250.0)

    found = queueing.simulate(users, 1, server, use, answers=20_000)

    assert mean_value_analysis(users, 60.0, 6.0) == pytest.approx(found.answer, rel=0.05)


def test_many_slots_keep_the_laws_of_queues(queueing: Any) -> None:
    server = queueing.Server(speeds=[50.0, 40.0, 30.0], reading=500.0)
    use = queueing.Use(pause=30.0, prompt=500.0, answer=250.0)

    found = queueing.simulate(40, 3, server, use, answers=10_000)

    # Users either pause or have asked; what is answered is what the busy slots make.
    assert found.rate * (30.0 + found.answer) == pytest.approx(40, rel=0.05)
    assert found.utilisation * 9 == pytest.approx(
        found.rate * (found.answer - found.wait), rel=0.05
    )
    assert 0 < found.wait < found.wait_95


def test_more_servers_never_make_it_worse_and_the_fewest_are_found(queueing: Any) -> None:
    server = queueing.Server(speeds=[50.0, 40.0], reading=500.0)
    use = queueing.Use(pause=30.0, prompt=500.0, answer=250.0)

    count, found = queueing.servers_needed(40, server, use, most_wait=2.0, answers=3000)

    assert found.wait_95 <= 2.0 < queueing.simulate(40, count - 1, server, use, 3000).wait_95


def test_the_program_prints_a_table() -> None:
    command = [sys.executable, str(PROGRAM), "--speeds", "50", "40", "--reading", "500"]
    ended = subprocess.run([*command, "--users", "5"], capture_output=True, text=True, check=True)

    assert ended.stdout.splitlines()[0].startswith("| Users | Servers |")
    assert ended.stdout.splitlines()[2].startswith("| 5 | ")
