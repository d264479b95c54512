"""Run the tests: python -m tests [--long] [--twice] [ARGUMENTS OF PYTEST].

Those of `make test`, or with --long the slow ones; first those that share the machine, in two
processes; then, in order, those that need it alone. With --twice, tests that fail run once more.
"""

from __future__ import annotations

import argparse
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
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--twice", action="store_true")
    options, further = parser.parse_known_args(arguments)
    together, alone = ("long", "long-alone") if options.long else ("together", "alone")
    statuses = []
    for part in (("--part", together, *TOGETHER), ("--part", alone)):
        status = run(*part, *further)
        if options.twice and ExitCode.TESTS_FAILED == status:
            # pytest's --reruns would take 20 ms for each test.
            status = run(*part, *further, "--last-failed")
        if status not in WORST_FIRST:
            return status
        statuses.append(status)
    if ExitCode.TESTS_FAILED == statuses[0]:
        print("There are failures above, too, in the tests that share the machine.")
    if {ExitCode.NO_TESTS_COLLECTED} == set(statuses):
        target = "test-long" if options.long else "test"
        print(f"No such test is run by `make {target}`; see the other one.")
    return min(statuses, key=WORST_FIRST.index)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
