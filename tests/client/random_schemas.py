"""Answers of the embedded engine to random schemas; as a program, as many as it is told.

Run it with ``python -m tests.client.random_schemas 1000``.
"""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from mlxcel_integrations import LLM, StructuredOutputTruncated
from tests.protocol.schemas import schemas


def answers(llm: LLM, count: int) -> tuple[int, int]:
    """Ask for answers to that many schemas; return how many were whole, and how many cut.

    One that is whole and does not fit raises an error.
    """
    ended = {"whole": 0, "cut": 0}

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schemas())
    def ask(schema: dict[str, Any]) -> None:
        try:
            # Without the schema, the prompt is short and read at once.
            llm.chat("Give an example as JSON:", schema=schema, show_schema=False, max_tokens=80)
            ended["whole"] += 1
        except StructuredOutputTruncated:
            ended["cut"] += 1

    ask()
    return ended["whole"], ended["cut"]


if __name__ == "__main__":
    with LLM(model="embedded") as model:
        print("whole, cut:", answers(model, int(sys.argv[1])))
