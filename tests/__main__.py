"""Run the tests of `make test`, or with --long the others: python -m tests [--long] [ARGUMENTS].

First those that share the machine, in two processes; then, in order, those that need it alone. What
follows --long are arguments of pytest.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable

from pytest import ExitCode  # noqa: PT013  or a function would hide the module

# Neighbours stay in one process, so that an engine that they share is seldom started twice.
TOGETHER = ("--numprocesses", "2", "--dist", "worksteal")

# What a part may end with; else Ctrl-C, -x or arguments that pytest does not know have stopped it.
WORST_FIRST = (ExitCode.TESTS_FAILED, ExitCode.OK, ExitCode.NO_TESTS_COLLECTED)


def pytest(*arguments: str) -> int:
    """Run pytest in a process of its own, and return its exit status."""
    # Two processes, and the hundreds that tests start, import the same modules.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "pytest", *arguments]
    with subprocess.Popen(command, env=environment) as process:
        while True:
            # Ctrl-C reaches pytest, too, which says what it has found until then.
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def main(arguments: list[str], run: Callable[..., int] = pytest) -> int:
    """Run two parts, and return the worse exit status."""
    long = arguments[:1] == ["--long"]
    together, alone = ("long", "long-alone") if long else ("together", "alone")
    statuses = []
    for part in (("--part", together, *TOGETHER), ("--part", alone)):
        statuses.append(run(*part, *arguments[long:]))
        if statuses[-1] not in WORST_FIRST:
            return statuses[-1]
    if ExitCode.TESTS_FAILED == statuses[0]:
        print("There are failures above, too, in the tests that share the machine.")
    if {ExitCode.NO_TESTS_COLLECTED} == set(statuses):
        print(
            f"No such test is run by `make {'test-long' if long else 'test'}`; see the other one."
        )
    return min(statuses, key=WORST_FIRST.index)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
