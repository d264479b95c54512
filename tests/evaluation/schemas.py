"""Whole and valid answers of the built-in model to schemas of real function calls.

``python -m tests.evaluation.schemas FILE`` reads JSON lines as ``tests.benchmarks.schemas`` does,
takes the schemas of Glaive and of the Berkeley Function Calling Leaderboard in turn, and asks for
an example of each with ``max_tokens=400``. Schemas that no data of their tests fit are left out.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxcel_integrations import LLM, StructuredOutputError
from tests.benchmarks.schemas import rows

__all__ = ["Answer", "answers"]

SOURCES = ("Glaiveai2K", "BFCL")

REACHED = 0.92
"""Share of answers that must be whole and valid."""


@dataclass(frozen=True)
class Answer:
    """What became of one question.

    Attributes:
        name: Name of the schema.
        reason: Why the last attempt was not whole and valid, None if it was.
        text: Its text.
    """

    name: str
    reason: str | None
    text: str


def schemas(path: Path, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and schemas of function calls, the sources in turn."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {source: [] for source in SOURCES}
    for row in rows(path):
        source = next((each for each in SOURCES if row["name"].startswith(each)), None)
        if source and any(test["valid"] for test in row["tests"]):
            found[source].append((row["name"], row["schema"]))
    pairs = itertools.zip_longest(*found.values())
    return [each for each in itertools.chain(*pairs) if each][:count]


def question(name: str) -> str:
    """Return the question for a schema with the name of a function, a source and a checksum."""
    function = re.sub(r"^[^_-]+[_-]+|_[0-9a-f]{8}$", "", name).replace("_", " ")
    return f"Give an example of the arguments of the function '{function}'."


def answers(path: Path, count: int, max_attempts: int) -> Iterator[Answer]:
    """Ask the built-in model for the answers."""
    with LLM(model="embedded") as llm:
        for name, schema in schemas(path, count):
            try:
                reply = llm.complete_chat(
                    question(name),
                    schema=schema,
                    max_tokens=400,
                    temperature=0,
                    max_attempts=max_attempts,
                )
            except StructuredOutputError as error:
                yield Answer(name, f"{error.finish_reason}: {error.problem}", error.raw)
            else:
                yield Answer(name, None, reply.text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--max-attempts", type=int, default=2)
    options = parser.parse_args()
    right = asked = 0
    for answer in answers(options.file, options.count, options.max_attempts):
        asked += 1
        right += answer.reason is None
        if answer.reason is not None:
            print(f"{answer.name}: {answer.reason}: {answer.text[-80:]!r}", flush=True)
    print(f"whole and valid: {right} of {asked}, {right / asked:.0%}")
    return 0 if right >= REACHED * asked else 1


if __name__ == "__main__":
    sys.exit(main())
