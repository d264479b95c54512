"""What guessing tokens ahead brings: the time for each token of the embedded engine."""

from __future__ import annotations

import statistics

from tests.benchmarks.part import Part
from tests.embedded.measure_guessing import WORK, engines, groups, measured

__all__ = ["PARTS"]

PLAIN = "without, {}"
GUESSING = '`LLM(spec_type="ngram-simple")`, {}'


def guessing(rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds for each token of answers, one at a time.

    Args:
        rounds: Nothing here: each answer is generated several times.
        peers: Nothing here: it is the engine that guesses, whoever asks.
    """
    took: dict[str, float] = {}
    with engines() as pair:
        for kind, bodies in WORK.items():
            pairs = [measured(pair, group) for group in groups(bodies, 1)]
            for name, answers in zip((PLAIN, GUESSING), zip(*pairs, strict=True), strict=True):
                took[name.format(kind)] = statistics.mean(answer.seconds for answer in answers)
    return took


PARTS = (
    Part(
        "guessing",
        "ms a token",
        1e3,
        guessing,
        {GUESSING.format(kind): (PLAIN.format(kind),) for kind in WORK},
        {GUESSING.format("quotes"): 0.9},
    ),
)
