"""Measure what this package costs, compared with others and with the least possible work.

Clients take turns in each round; the median counts. What is compared is told in
docs/performance.md. Packages of others take part as far as they are installed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable

from tests.benchmarks import (
    batches,
    conversations,
    embeddings,
    first_signs,
    guessing,
    restarts,
    splitting,
    starts,
    stops,
    streams,
    structured,
    tokens,
)
from tests.benchmarks.charts import write as draw_charts
from tests.benchmarks.page import PAGE, conditions, markdown, plain, put
from tests.benchmarks.part import Part

PARTS = {
    part.name: part
    for module in (
        *(streams, stops, starts, restarts, conversations, first_signs, guessing),
        *(tokens, splitting, batches, embeddings, structured),
    )
    for part in module.PARTS
}
TRIES = 3
"""A busy machine takes the processor away now and then, but not each time."""


def show(parts: Iterable[Part], rounds: int, *, peers: bool = True) -> dict[str, str]:
    """Print the tables of parts, and return them as they are in the page."""
    tables = {}
    for part in parts:
        cells = part.cells(part.measure(rounds, peers))
        print(f"{part.name}\n{plain(cells)}\n", flush=True)
        tables[part.name] = markdown(cells)
    return tables


def check(parts: Iterable[Part], rounds: int) -> bool:
    """Print the clients that take more than they may, and return whether none does."""
    left = [part for part in parts if part.limits]
    for _ in range(TRIES):
        above = [(part, part.above(part.measure(rounds, False))) for part in left]
        left = [part for part, lines in above if lines]
        for _, lines in above:
            print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    return not left


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--check", action="store_true", help="exit 1 if we take more than we may")
    parser.add_argument("--write", action="store_true", help=f"put it all into {PAGE.name}")
    given = parser.parse_args()
    parts = [PARTS[name] for name in given.parts]
    if given.write and len(parts) < len(PARTS):
        parser.error("--write needs all parts: the page tells of one machine and one day.")
    if os.getloadavg()[0] > 1:
        print("This machine is busy: the figures will be too high.", file=sys.stderr)
    # No tracing service is sent what is asked here.
    os.environ["LANGSMITH_TRACING"] = "false"
    if given.check:
        return 0 if check(parts, given.rounds) else 1
    tables = show(parts, given.rounds)
    if given.write:
        page = PAGE.read_text()
        for name, content in {"conditions": conditions(given.rounds), **tables}.items():
            page = put(page, name, content)
        PAGE.write_text(page)
        draw_charts()
    return 0


if __name__ == "__main__":
    sys.exit(main())
