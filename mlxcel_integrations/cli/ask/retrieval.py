"""Retrieval of passages by keywords and by meaning together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ...client import LLM
from ..flags import in_flags
from ..terminal import Terminal, is_self_explanatory
from .keyword_search import KeywordIndex, fuse_rankings
from .passages import Passage
from .store import Store
from .vector_search import VectorIndex

__all__ = ["Retrieval"]

CANDIDATES = 50
"""Passages that each index proposes."""


class Retrieval:
    """Finds passages for questions.

    Passages that share words with a question are embedded first, then as many others as time
    allows. Vectors are kept, so that the next question continues from there.

    Args:
        terminal: Where to print progress.
        passages: The passages to search.
        embedder: The server that embeds; if there is none, keywords alone decide.
        store: Where vectors are kept.
    """

    def __init__(
        self, terminal: Terminal, passages: Sequence[Passage], embedder: LLM | None, store: Store
    ) -> None:
        texts = [passage.text for passage in passages]
        self._terminal = terminal
        self._passages = passages
        self._keywords = KeywordIndex(texts)
        self._vectors = VectorIndex(embedder, texts, store) if embedder is not None else None

    @property
    def embedded(self) -> int | None:
        """Number of passages that have a vector; None if the server does not embed."""
        return self._vectors.known if self._vectors is not None else None

    def prepare(self, question: str, seconds: float) -> None:
        """Embed the question, and passages that may answer it.

        Args:
            question: The question.
            seconds: When to stop embedding passages; the last batch may take longer.
        """
        by_words = self._keywords.rank(question, CANDIDATES)
        if self._vectors is not None:
            self._try_to_embed(self._vectors, question, by_words, seconds)
        if self._vectors is None and not by_words:
            self._terminal.fact(
                "Search",
                "no passage shares a word with the question, so the model sees the beginning; ask "
                "in the language and the words of the texts",
            )

    def find(self, question: str, k: int) -> Sequence[Passage]:
        """Return the k best passages for a question that was prepared; if none fits, the first."""
        by_words, by_meaning = self._keywords.rank(question, CANDIDATES), {}
        if self._vectors is not None:
            by_meaning = self._vectors.rank(question, range(len(self._passages)), CANDIDATES)
        best = fuse_rankings(by_words, by_meaning)
        return [self._passages[index] for index in best[:k]] or self._passages[:k]

    def _try_to_embed(
        self, vectors: VectorIndex, question: str, by_words: Iterable[int], seconds: float
    ) -> None:
        """Embed what is missing; if the server cannot, keywords alone decide from now on."""
        wanted = [*by_words, *range(len(self._passages))]
        try:
            left = self._embed(vectors, question, wanted, seconds)
            if left.remaining:
                self._terminal.fact("Search", left.advice)
        except Exception as error:
            if not is_self_explanatory(error):
                raise
            self._vectors = None
            reason = in_flags(str(error), "ask")
            self._terminal.fact("Search", f"by keywords alone. {reason}")

    def _embed(
        self, vectors: VectorIndex, question: str, wanted: Sequence[int], seconds: float
    ) -> Countdown:
        if vectors.open(question):
            changed = "the model's vectors have changed size: all passages are embedded again"
            self._terminal.fact("Search", changed)
        missing = vectors.missing(wanted)
        left = Countdown(len(missing))
        if missing:
            with self._terminal.waiting("Embedding new passages", lambda: left.text):
                vectors.embed(missing, seconds, left.count)
        return left


class Countdown:
    """Number of passages still to embed, and how long that takes.

    Args:
        total: Number of passages at the beginning.
    """

    def __init__(self, total: int) -> None:
        self.done = 0
        self.remaining = total
        self._begin = time.monotonic()

    def count(self, done: int) -> None:
        """Count passages that have been embedded."""
        self.done += done
        self.remaining -= done

    @property
    def duration(self) -> str:
        """Estimated time for the rest."""
        if not self.done:
            return "time unknown"
        seconds = (time.monotonic() - self._begin) / self.done * self.remaining
        return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"

    @property
    def text(self) -> str:
        """Progress so far."""
        return f"{self.done} done, {self.remaining} to go, {self.duration}"

    @property
    def advice(self) -> str:
        """What was embedded, and how to embed the rest."""
        passages = "passage" if self.done == 1 else "passages"
        return (
            f"{self.done} more {passages} embedded, {self.remaining} left for the next question "
            f"({self.duration}; ask --embed-all embeds them now)"
        )
