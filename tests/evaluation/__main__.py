"""Ask the built-in models the questions, and print tables: python -m tests.evaluation."""

from __future__ import annotations

import sys

from mlxcel_integrations import LLM
from tests.evaluation import retrieval
from tests.evaluation.languages import languages_table
from tests.evaluation.run import DATA, HELD_OUT, evaluate, table

if sys.argv[1:] != ["retrieval"]:
    for title, data in (("Questions", DATA), ("Questions that are held out", HELD_OUT)):
        print(f"{title}:\n\n{table(evaluate(data, shown=sys.stderr))}\n")

with LLM(model="embedded") as llm:
    for name, make in retrieval.COLLECTIONS.items():
        for collection in (make(), retrieval.held_out(name)):
            print("\n" + retrieval.table(collection, retrieval.evaluate(collection, llm)))
    print("\n" + languages_table(llm))
