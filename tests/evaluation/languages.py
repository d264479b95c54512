"""Eight texts and questions in each of eight languages, and how often the right text is nearest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mlxcel_integrations import LLM

__all__ = ["LANGUAGES", "languages_table", "nearest_right"]

LANGUAGES: dict[str, list[tuple[str, str]]] = json.loads(
    Path(__file__).with_name("languages.json").read_text("utf-8")
)


def nearest_right(texts: list[str], questions: list[str], llm: LLM) -> float:
    """Return the share of questions to which the text of the same place is nearest."""
    nearness = np.array(llm.embed(questions)) @ np.array(llm.embed(texts)).T
    return float(np.mean(nearness.argmax(axis=1) == np.arange(len(questions))))


def languages_table(llm: LLM) -> str:
    """Return the shares as a Markdown table: of texts in the same language, and in English."""
    english = [text for text, _ in LANGUAGES["English"]]
    rows = ["| Language | its own texts | English texts |", "| --- | --- | --- |"]
    for language, pairs in LANGUAGES.items():
        texts, questions = [text for text, _ in pairs], [question for _, question in pairs]
        shares = [nearest_right(found, questions, llm) for found in (texts, english)]
        rows.append(f"| {language} | {shares[0]:.2f} | {shares[1]:.2f} |")
    return "\n".join(rows)
