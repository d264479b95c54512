"""What only long runs show: `python -m tests.soak [--minutes 10] [--kills 1000] [--only kills]`.

Prints a line for each trial. The status is 1 if one fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.faults.measurements import Figure
from tests.soak.chaos import chaos
from tests.soak.kills import kills
from tests.soak.restarts import connected, managed
from tests.soak.trials import cancels, slow_reader, streams, together


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=10, help="how long chaos lasts, and restarts"
    )
    parser.add_argument("--kills", type=int, default=1000, help="how many owners are killed")
    parser.add_argument("--only", help="the one trial to run")
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60 / 2
    trials: dict[str, Callable[[], Figure]] = {
        "streams": lambda: streams(1000),
        "cancels": lambda: cancels(10_000),
        "slow reader": lambda: slow_reader(100),
        "together": lambda: together(10),
        "managed": lambda: managed(seconds),
        "connected": lambda: connected(seconds),
        "chaos": lambda: chaos(arguments.minutes * 60),
        "kills": lambda: kills(arguments.kills),
    }
    failed = 0
    for name, trial in trials.items():
        if arguments.only not in (None, name):
            continue
        figure = trial()
        failed += not figure.ok
        verdict = "ok" if figure.ok else "FAILED"
        print(f"{figure.name}: {figure.value} (target {figure.target}: {verdict})", flush=True)
        for place in figure.places:
            print(f"    {place}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
