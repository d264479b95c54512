"""Clients that take turns: a drift of the machine hits all of them alike."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["Work", "medians", "time_of_children"]

Work = Callable[[], object]


def medians(
    clients: Mapping[str, Work],
    rounds: int,
    *,
    repeat: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Return the median seconds that each client takes for its work.

    Args:
        clients: Their work, by their names.
        rounds: How often each of them has its turn.
        repeat: How often the work is done in a turn.
        clock: What counts the seconds; by default those of the processor for this process, as the
            others on the machine must not count.
    """
    took: dict[str, list[float]] = {name: [] for name in clients}
    for work in clients.values():
        work()
    # What exists by now is never collected: looking through it would slow down one client, and,
    # after an unfreeze, each collection in this process.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, work in clients.items():
            gc.collect()
            begin = clock()
            for _ in range(repeat):
                work()
            took[name].append((clock() - begin) / repeat)
    return {name: statistics.median(times) for name, times in took.items()}


def time_of_children() -> float:
    """Return the processor time of all child processes that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
