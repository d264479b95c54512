"""Run the tests of `make test`: python -m tests [ARGUMENTS OF PYTEST].

First those that share the machine, in two processes; then, in order, those that need it alone.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable

from pytest import ExitCode  # noqa: PT013  or a function would hide the module

# Neighbours stay in one process, so that an engine that they share is seldom started twice.
TOGETHER = ("--part", "together", "--numprocesses", "2", "--dist", "worksteal")
ALONE = ("--part", "alone")

# What a part may end with; else Ctrl-C, -x or arguments that pytest does not know have stopped it.
WORST_FIRST = (ExitCode.TESTS_FAILED, ExitCode.OK, ExitCode.NO_TESTS_COLLECTED)


def pytest(*arguments: str) -> int:
    """Run pytest in a process of its own, and return its exit status."""
    with subprocess.Popen([sys.executable, "-m", "pytest", *arguments]) as process:
        while True:
            # Ctrl-C reaches pytest, too, which says what it has found until then.
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def main(arguments: list[str], run: Callable[..., int] = pytest) -> int:
    """Run both parts, and return the worse exit status."""
    statuses = []
    for part in (TOGETHER, ALONE):
        statuses.append(run(*part, *arguments))
        if statuses[-1] not in WORST_FIRST:
            return statuses[-1]
    if ExitCode.TESTS_FAILED == statuses[0]:
        print("There are failures above, too, in the tests that share the machine.")
    if {ExitCode.NO_TESTS_COLLECTED} == set(statuses):
        print("No such test is run by `make test`; see whether `make test-long` has it.")
    return min(statuses, key=WORST_FIRST.index)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
