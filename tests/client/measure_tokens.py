"""How long it takes to count many short texts, one by one and at once, on the embedded engine.

Run as a program: ``python -m tests.client.measure_tokens [COUNT]``.
"""

from __future__ import annotations

import random
import sys
import time

from mlxcel_integrations import LLM

WORDS = ["the", "quick", "fox", "jumps", "over", "a", "lazy", "dog", "and", "looks", "for", "data"]


def texts(count: int) -> list[str]:
    """Short sentences, each different."""
    numbers = random.Random(count)
    return [f"{' '.join(numbers.choices(WORDS, k=8))} {index}" for index in range(count)]


def measure(count: int) -> tuple[float, float]:
    """Return the seconds for counting texts one by one, and at once, the best of three."""
    with LLM(model="embedded") as llm:
        llm.count_tokens(["make it known", "how to count many"])
        begin = time.perf_counter()
        for text in texts(count):
            llm.count_tokens(text)
        one_by_one = time.perf_counter() - begin
        return one_by_one, min(_at_once(llm, count, end) for end in ".!?")


def _at_once(llm: LLM, count: int, end: str) -> float:
    """Return the seconds for texts that were not counted before."""
    many = [text + end for text in texts(count)]
    begin = time.perf_counter()
    llm.count_tokens(many)
    return time.perf_counter() - begin


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    one_by_one, at_once = measure(count)
    print(f"{count} texts one by one: {one_by_one:.2f} s")
    print(f"{count} texts at once:    {at_once:.2f} s ({one_by_one / at_once:.0f} times faster)")


if __name__ == "__main__":
    main()
