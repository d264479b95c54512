"""What guessing tokens ahead takes and saves, in processor time of the embedded engine."""

from __future__ import annotations

import statistics

from tests.benchmarks.part import Part
from tests.embedded.measure_guessing import WORK, engines, groups, measured

__all__ = ["PARTS"]

PLAIN = "without, {}"
GUESSING = '`LLM(spec_type="ngram-simple")`, {}'


def guessing(rounds: int, peers: bool) -> dict[str, float]:
    """Return the processor seconds for each token of answers, one at a time.

    Args:
        rounds: Nothing here: each kind of answer has several examples.
        peers: Nothing here: it is the engine that guesses, whoever asks.
    """
    took: dict[str, float] = {}
    with engines() as (plain, guesses):
        for kind, bodies in WORK.items():
            pairs = [
                (measured(*plain, group)[1], measured(*guesses, group)[1])
                for group in groups(bodies, 1)
            ]
            for name, times in zip((PLAIN, GUESSING), zip(*pairs, strict=True), strict=True):
                took[name.format(kind)] = statistics.mean(times)
    return took


PARTS = (
    Part(
        "guessing",
        "ms a token",
        1e3,
        guessing,
        {GUESSING.format(kind): (PLAIN.format(kind),) for kind in WORK},
    ),
)
