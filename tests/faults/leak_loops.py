"""Leaks while servers are started and stopped in a loop."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import psutil

from mlxcel_integrations import LLM
from tests.faults.measurements import Figure, fake_mlxcel, left_of

WARM_UP = 5


def starts_and_stops(count: int) -> Iterator[Figure]:
    """File descriptors, threads, zombies and memory after so many starts and stops."""
    with fake_mlxcel() as fake:
        binary = fake.binary()
        for _ in range(WARM_UP):
            start_and_stop(binary)
        before = usage()
        for _ in range(count):
            start_and_stop(binary)
        grown = [now - then for now, then in zip(usage(), before, strict=True)]
        left = left_of(fake)
    descriptors, threads, zombies, memory = grown
    name = f"file descriptors, threads, zombies after {count} starts and stops"
    value = f"{descriptors:+}, {threads:+}, {zombies:+}"
    yield Figure(name, value, "+0", [0, 0, 0] == grown[:3])
    yield Figure(
        "processes and directories left after them", str(len(left)), "0", not left, tuple(left)
    )
    yield Figure("growth of memory by them", f"{memory / 1e6:.1f} MB")


def start_and_stop(binary: str) -> None:
    with LLM("m", binary=binary) as llm:
        llm.chat("hi")


def usage() -> tuple[int, int, int, int]:
    """Return file descriptors, threads, zombies and bytes of memory of this process."""
    gc.collect()
    process = psutil.Process()
    zombies = [c for c in process.children() if c.status() == psutil.STATUS_ZOMBIE]
    return process.num_fds(), process.num_threads(), len(zombies), process.memory_info().rss
