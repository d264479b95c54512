"""Ask the built-in model the questions, and print a table: python -m tests.evaluation."""

from __future__ import annotations

import sys

from tests.evaluation.run import evaluate, table

print(table(evaluate(shown=sys.stderr)))
