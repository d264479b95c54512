"""Answers of the embedded engine to random schemas; as a program, as many as it is told.

Run it with ``python -m tests.client.random_schemas 1000``.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from mlxcel_integrations import LLM, StructuredOutputTruncated
from tests.structured.schemas import schemas

SLOTS = 4


def some_schemas(count: int) -> list[dict[str, Any]]:
    """Return that many schemas, the same ones every time."""
    drawn: list[dict[str, Any]] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schemas())
    def draw(schema: dict[str, Any]) -> None:
        drawn.append(schema)

    draw()
    return drawn


def is_whole(llm: LLM, schema: dict[str, Any]) -> bool:
    """Ask for an answer that fits; return whether it was whole, or cut.

    One that is whole and does not fit raises an error.
    """
    try:
        # Without the schema, the prompt is short and read at once.
        llm.chat("Give an example as JSON:", schema=schema, show_schema=False, max_tokens=80)
    except StructuredOutputTruncated:
        return False
    return True


def answers(llm: LLM, count: int) -> tuple[int, int]:
    """Ask for answers to that many schemas; return how many were whole, and how many cut."""
    with ThreadPoolExecutor(SLOTS) as pool:
        whole = list(pool.map(lambda schema: is_whole(llm, schema), some_schemas(count)))
    return sum(whole), len(whole) - sum(whole)


if __name__ == "__main__":
    start = time.monotonic()
    with LLM(model="embedded", parallel=SLOTS) as model:
        print("whole, cut:", answers(model, int(sys.argv[1])))
    print(f"{time.monotonic() - start:.0f} s")
