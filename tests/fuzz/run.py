"""Inputs by their numbers: the same seed and number make the same input on every machine."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

__all__ = ["MOST_SECONDS", "Finding", "try_all", "try_one"]

Targets = Mapping[str, tuple[Callable[[random.Random], None], int]]

MOST_SECONDS = 5.0
"""How long one input may take; the slowest take a few hundredths of this."""


@dataclass(frozen=True)
class Finding:
    """An input by which something that must hold was broken.

    Attributes:
        seed: The seed of the run.
        number: Which input.
        target: What it was given to.
        what: The traceback.
    """

    seed: int
    number: int
    target: str
    what: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz --seed {self.seed} --number {self.number}"
        return f"{self.target}: {self.what}\nTo try it again: {again}"


def _round(targets: Targets) -> list[str]:
    """Return the names of the targets as they take turns."""
    return [name for name, (_, often) in targets.items() for _ in range(often)]


def try_one(
    seed: int,
    number: int,
    targets: Targets | None = None,
    most_seconds: float = MOST_SECONDS,
) -> Finding | None:
    """Make one input, and return what it broke, None if nothing."""
    if targets is None:
        # Only by those who try: whoever hands out the work need not wait for both frameworks.
        from tests.fuzz.targets import TARGETS as targets
    names = _round(targets)
    target = names[number % len(names)]
    started = time.thread_time()
    try:
        targets[target][0](random.Random(f"{seed}-{number}"))
    except Exception:  # noqa: BLE001 - whatever is let out is a finding
        return Finding(seed, number, target, traceback.format_exc())
    took = time.thread_time() - started
    if took > most_seconds:
        return Finding(seed, number, target, f"it took {took:.1f} s")
    return None


def try_all(seed: int, numbers: Iterable[int]) -> list[Finding]:
    """Try many inputs, and return what was found."""
    return [found for number in numbers if (found := try_one(seed, number)) is not None]
