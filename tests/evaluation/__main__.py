"""Ask the built-in models the questions, and print tables: python -m tests.evaluation."""

from __future__ import annotations

import sys

from mlxcel_integrations import LLM
from tests.evaluation import retrieval
from tests.evaluation.languages import languages_table
from tests.evaluation.run import evaluate, table

if sys.argv[1:] != ["retrieval"]:
    print(table(evaluate(shown=sys.stderr)))

with LLM(model="embedded") as llm:
    for make in retrieval.COLLECTIONS.values():
        collection = make()
        print("\n" + retrieval.table(collection, retrieval.evaluate(collection, llm)))
    print("\n" + languages_table(llm))
