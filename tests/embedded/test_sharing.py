"""A real model that stays loaded between two programs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import WARNINGS_ARE_ERRORS
from tests.supervisor.conftest import runs

pytestmark = pytest.mark.engine

PROGRAM = """
from mlxcel_integrations import LLM, ManagedServer
with ManagedServer("embedded", share="user", keep_alive=5) as server:
    answer = LLM(socket=server.socket).chat("What is the capital of France?", max_tokens=8)
    print(server.pid, answer)
"""


def run(place: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", PROGRAM],
        env={**os.environ, "XDG_RUNTIME_DIR": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "" == done.stderr
    return done.stdout.split(maxsplit=1)


def test_a_second_program_finds_the_model_still_loaded(place: Path) -> None:
    (first, answer), (second, _) = run(place), run(place)

    assert "Paris" in answer
    assert first == second
    deadline = time.monotonic() + 20
    while list(place.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [] == list(place.iterdir())
    assert not runs(int(first))
