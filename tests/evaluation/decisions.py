"""Right decisions of the built-in models, by log probabilities and by embeddings.

``python -m tests.evaluation.decisions`` decides on 40 requests to a support team with five labels,
and three examples of each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlxcel_integrations import LLM, Decision

__all__ = ["EXAMPLES", "REACHED", "right"]

REQUESTS: dict[str, Any] = json.loads(Path(__file__).with_name("decisions.json").read_text())
EXAMPLES = {label: request["examples"] for label, request in REQUESTS.items()}
REACHED = 36
"""Right decisions that embeddings of examples must reach."""


def right(decide: Callable[[str], Decision]) -> int:
    """Return how many requests were given the right label."""
    texts = [(label, text) for label, request in REQUESTS.items() for text in request["texts"]]
    return sum(decide(text).label == label for label, text in texts)


def with_examples(text: str) -> str:
    """Return a prompt that shows the examples."""
    shown = [f"{text} -> {label}" for label, texts in EXAMPLES.items() for text in texts]
    return "\n".join(["Examples:", *shown, "", f"{text} ->"])


def main() -> int:
    with LLM(model="embedded") as llm:
        labels = list(EXAMPLES)
        ways: dict[str, Callable[[str], Decision]] = {
            "embeddings of examples": lambda text: llm.classify(text, EXAMPLES),
            "embeddings of labels": lambda text: llm.classify(text, labels),
            "log probabilities": lambda text: llm.decide(text, labels),
            "calibrated": lambda text: llm.decide(text, labels, calibrate=True),
            "with examples": lambda text: llm.decide(with_examples(text), labels),
            "with examples, calibrated": lambda text: llm.decide(
                with_examples(text), labels, calibrate=with_examples("N/A")
            ),
        }
        found = {}
        for name, decide in ways.items():
            found[name] = right(decide)
            print(f"{name}: {found[name]} of 40", flush=True)
    return 0 if found["embeddings of examples"] >= REACHED else 1


if __name__ == "__main__":
    sys.exit(main())
