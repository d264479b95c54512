"""Measure what a managed server must reach, and print a line for each figure.

python -m tests.faults.measure [NAME...] [--count N]

Each measurement runs in a process of its own. The exit status is 1 when a figure misses its target.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator

from tests.faults.measurements import Figure

MEASUREMENTS: dict[str, tuple[str, int]] = {
    "starts_and_stops": ("leak_loops", 300),
    "interrupts": ("interrupts", 0),
    "sigints": ("interrupts", 100),
    "errors_in_threads": ("interrupts", 0),
    "secrets": ("key_search", 0),
    "exit_to_error": ("latencies", 50),
    "ready_to_first_byte": ("latencies", 30),
    "loop_block": ("latencies", 10),
    "simultaneous_starts": ("simultaneous_starts", 20),
}
"""Name -> the module of its function, and how often it is repeated; 0 is as often as it takes."""


def measure(name: str, count: int | None) -> bool:
    """Print the figures of one measurement, and tell whether they reach their targets."""
    module, usual = MEASUREMENTS[name]
    function: Callable[[int], Iterator[Figure]] = getattr(
        importlib.import_module(f"tests.faults.{module}"), name
    )
    reached = True
    for figure in function(usual if count is None else count):
        reached = reached and figure.ok
        verdict = "ok" if figure.ok else "MISSED"
        target = f"(target {figure.target}: {verdict})" if figure.target else ""
        print(f"{figure.name}: {figure.value} {target}", flush=True)
        for place in figure.places:
            print(f"    {place}", flush=True)
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--count", type=int, help="how often to repeat it")
    given = parser.parse_args()
    for name in given.names:
        if name not in MEASUREMENTS:
            parser.error(f"there is no {name!r}")
    if len(given.names) == 1:
        return 0 if measure(given.names[0], given.count) else 1
    more = ["--count", str(given.count)] if given.count is not None else []
    return max(
        subprocess.run([sys.executable, "-m", "tests.faults.measure", name, *more]).returncode
        for name in given.names or MEASUREMENTS
    )


if __name__ == "__main__":
    sys.exit(main())
