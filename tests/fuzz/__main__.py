"""Try many wrong answers of servers: `python -m tests.fuzz 5000000`.

Prints how far it is, and for each finding how to try it again. The status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.fuzz.run import Finding, try_all, try_one

BLOCK = 2000
SHOWN = 5


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--number", type=int, help="try this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    if options.number is not None:
        found = try_one(options.seed, options.number)
        print(found or "Nothing is wrong with it.")
        return int(found is not None)
    print(f"{options.count:,} inputs, --seed {options.seed}, {options.jobs} processes", flush=True)
    findings = run(options.seed, options.count, options.jobs)
    print(f"{len(findings)} findings in {options.count:,} inputs, --seed {options.seed}")
    return int(bool(findings))


def run(seed: int, count: int, jobs: int) -> list[Finding]:
    """Try the inputs in blocks, and print how far it is and what is found."""
    findings: list[Finding] = []
    starts = range(0, count, BLOCK)
    blocks = [range(start, min(start + BLOCK, count)) for start in starts]
    started = said = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        results = pool.map(try_all, itertools.repeat(seed), blocks)
        for block, found in zip(blocks, results, strict=True):
            for finding in found[: max(0, SHOWN - len(findings))]:
                print(finding, flush=True)
            findings += found
            now = time.monotonic()
            if now - said > 5 or block is blocks[-1]:
                said = now
                rate = block.stop / (now - started)
                print(f"{block.stop:>12,}  {rate:,.0f}/s  {len(findings)} findings", flush=True)
    return findings


if __name__ == "__main__":
    sys.exit(main())
