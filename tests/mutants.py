"""How many of the changes that `mutmut run` makes to `protocol/` are noticed by its tests.

`mutmut results --all true | python -m tests.mutants` prints each change that no test noticed
(`mutmut show NAME` shows it) and a table of the modules. The status is 1 below 90 %.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable

LEAST = 90
"""Percent of the changes that must be noticed."""

NOTICED = {"killed", "timeout", "segfault"}


def main() -> int:
    modules = by_module(sys.stdin)
    if not modules:
        sys.exit("There are no results: run mutmut first.")
    for names in modules.values():
        for name, status in names.items():
            if status not in NOTICED:
                print(f"{status}: {name}")
    total: Counter[str] = Counter()
    print("\n| Module | Changes | Noticed | % |\n| --- | ---: | ---: | ---: |")
    for module, names in sorted(modules.items()):
        statuses = Counter(names.values())
        print(row(f"`{module}`", statuses))
        total += statuses
    print(row("all", total))
    return int(percent(total) < LEAST)


def by_module(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the status of each change that was tried, by the name of its module."""
    modules: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in lines:
        name, _, status = line.strip().rpartition(": ")
        if "__mutmut_" in name and status != "not checked":
            modules[name.split(".")[-2]][name] = status
    return modules


def noticed(statuses: Counter[str]) -> int:
    return sum(statuses[status] for status in NOTICED)


def percent(statuses: Counter[str]) -> float:
    return 100 * noticed(statuses) / statuses.total()


def row(name: str, statuses: Counter[str]) -> str:
    numbers = f"{statuses.total():,} | {noticed(statuses):,} | {percent(statuses):.1f}"
    return f"| {name} | {numbers} |"


if __name__ == "__main__":
    sys.exit(main())
