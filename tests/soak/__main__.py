"""What only long runs show: `python -m tests.soak [--minutes 10]`.

Prints a line for each trial. The status is 1 if one fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.faults.measurements import Figure
from tests.soak.restarts import connected, managed
from tests.soak.trials import cancels, slow_reader, streams, together


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long servers are restarted")
    seconds = parser.parse_args().minutes * 60 / 2
    trials: list[Callable[[], Figure]] = [
        lambda: streams(1000),
        lambda: cancels(10_000),
        lambda: slow_reader(100),
        lambda: together(10),
        lambda: managed(seconds),
        lambda: connected(seconds),
    ]
    failed = 0
    for trial in trials:
        figure = trial()
        failed += not figure.ok
        verdict = "ok" if figure.ok else "FAILED"
        print(f"{figure.name}: {figure.value} (target {figure.target}: {verdict})", flush=True)
        for place in figure.places:
            print(f"    {place}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
