"""Questions about documents, and the rank of the first section that answers each."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from statistics import mean
from typing import Any

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from mlxcel_integrations import LLM

__all__ = ["COLLECTIONS", "Collection", "Ranks", "evaluate", "held_out", "table"]

ROOT = Path(__file__).parents[2]
OTHER = json.loads(Path(__file__).with_name("other_documents.json").read_text("utf-8"))
HELD_OUT = json.loads(Path(__file__).with_name("held_out_retrieval.json").read_text("utf-8"))
"""Questions that were written after all settings had been chosen, about sections not asked for."""

_LONGEST_TOPIC = 4500
_FOUND, _CANDIDATES = 10, 20
_MEANING = 0.65
"""Weight of the meaning, beside words; the notebooks have the same."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Collection:
    """Documents in sections, and questions about them.

    Attributes:
        name: What the documents are.
        texts: The text of each section, by its place.
        questions: The questions, each with the places of the sections that answer it.
    """

    name: str
    texts: dict[str, str]
    questions: list[dict[str, Any]]


@dataclass(frozen=True)
class Ranks:
    """Ranks of the first section that answers each question, None if it is not among the first ten.

    Attributes:
        way: How the sections were searched.
        ranks: A rank for each question, from 1.
    """

    way: str
    ranks: list[int | None]

    @property
    def hit_rate(self) -> float:
        """Share of questions with an answer among the first five sections."""
        return mean(bool(rank and rank <= 5) for rank in self.ranks)

    @property
    def reciprocal(self) -> float:
        """Mean reciprocal rank."""
        return mean(1 / rank if rank else 0 for rank in self.ranks)


def _corpus() -> Any:
    """The module next to the notebooks, which cuts documents."""
    folder = str(ROOT / "notebooks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("corpus")
    finally:
        sys.path.remove(folder)


def our_docs() -> Collection:
    """The documentation of this project, with the questions of the notebook."""
    questions = json.loads((ROOT / "notebooks" / "questions.json").read_text("utf-8"))
    texts = {section.place: section.text for section in _corpus().sections(ROOT / "docs")}
    return Collection("our docs", texts, questions)


def other_documents() -> Collection:
    """A licence, chapters of Python's reference as they are installed, and a guide to a town."""
    questions = OTHER["questions"]
    asked = {place for question in questions for place in question["answers"]}
    wanted = [
        name
        for name, text in topics.items()
        if len(text) < _LONGEST_TOPIC or f"python # {name}" in asked
    ]
    texts = {
        **{f"LICENSE # {name}": text for name, text in _licence()},
        **{f"python # {name}": f"{name}\n\n{topics[name].strip()}" for name in wanted},
        **{f"guide # {name}": f"{name}\n\n{text}" for name, text in OTHER["guide"].items()},
    }
    return Collection("other documents", texts, questions)


def _licence() -> Iterator[tuple[str, str]]:
    text = (ROOT / "LICENSE").read_text("utf-8").partition("END OF TERMS")[0]
    for part in re.split(r"\n   \d\. ", text)[1:]:
        name, _, body = " ".join(part.split()).partition(". ")
        yield name, f"{name}\n\n{body}"


COLLECTIONS = {"docs": our_docs, "other": other_documents}


def held_out(name: str) -> Collection:
    """Return the same documents with the questions that are held out."""
    known = COLLECTIONS[name]()
    return Collection(f"{known.name}, held out", known.texts, HELD_OUT[name])


def evaluate(collection: Collection, llm: LLM) -> list[Ranks]:
    """Search each question by words, by meaning, and by both.

    The figures for our docs are those that the notebook ``rag_evaluation`` prints.

    Args:
        collection: The documents and the questions.
        llm: A model that embeds.
    """
    asked = [question["question"] for question in collection.questions]
    texts = [*collection.texts.values()]
    words, meaning = _by_words(texts, asked), _by_meaning(texts, asked, llm)
    # Names and error messages are found by words; all else is better found by meaning.
    both = (1 - _MEANING) * _scaled(words) + _MEANING * _scaled(meaning)
    ways = {"words": words, "meaning": meaning, "both": both}
    return [Ranks(way, _ranks(collection, scores)) for way, scores in ways.items()]


def _by_words(texts: Sequence[str], questions: Sequence[str]) -> Scores:
    """As LlamaIndex's retriever does, which leaves words such as "the" out of questions."""
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: Sequence[str], left_out: str | None = None) -> Any:
        how = {"stopwords": left_out, "token_pattern": r"[^\W_]{2,}", "stemmer": stemmer}
        return bm25s.tokenize([*texts], show_progress=False, return_ids=False, **how)

    index = bm25s.BM25()
    index.index(tokens(texts), show_progress=False)
    return np.array([index.get_scores(words) for words in tokens(questions, "en")])


def _by_meaning(texts: Sequence[str], questions: Sequence[str], llm: LLM) -> Scores:
    vectors = np.array(_corpus().mean_of_passages(texts, llm.embed))
    scores: Scores = np.array(llm.embed(questions)) @ vectors.T
    return scores


def _scaled(scores: Scores) -> Scores:
    """The scores of the best sections of each question from 0 to 1; 0 for the others."""
    best = np.sort(scores, axis=1)[:, -_CANDIDATES:]
    low, high = best[:, :1], best[:, -1:]
    scaled: Scores = (scores - low) / np.maximum(high - low, 1e-9)
    return np.maximum(scaled, 0)


def _ranks(collection: Collection, scores: Scores) -> list[int | None]:
    places = [*collection.texts]
    orders = np.argsort(-scores, axis=1, kind="stable")[:, :_FOUND]
    return [
        next((at for at, n in enumerate(order, 1) if places[n] in question["answers"]), None)
        for question, order in zip(collection.questions, orders, strict=True)
    ]


def table(collection: Collection, found: Sequence[Ranks]) -> str:
    """Return the figures as a Markdown table.

    Args:
        collection: The documents and the questions.
        found: The ranks of each way to search.
    """
    head = [
        f"| {collection.name}: {len(collection.questions)} questions, {len(collection.texts)} "
        "sections | among the first five | MRR |",
        "| --- | --- | --- |",
    ]
    rows = [f"| {ranks.way} | {ranks.hit_rate:.3f} | {ranks.reciprocal:.3f} |" for ranks in found]
    return "\n".join([*head, *rows])
