"""Retrieval by keywords and by meaning together."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...client import LLM
from ...protocol.features import choose_capable
from ..failures import is_for_the_user
from ..terminal import Terminal
from .keyword_search import Keywords, fuse
from .passages import Passage
from .prompt import BUILT_IN
from .store import Store
from .vector_search import Meaning, vector_name

__all__ = ["Retrieval"]

CANDIDATES, ROUGH_CANDIDATES = 20, 10
"""Passages that each way proposes; fewer where each vector takes long and says little."""


class Retrieval:
    """Finds passages for questions.

    What shares words with a question is compared with it by meaning, and the rest as far as there
    is time to embed it: vectors are kept, so that the next question begins where this one ended.
    The built-in model is slow, and its vectors are rough: it compares no more than the former.

    Args:
        terminal: Where to print how far it is.
        passages: What is searched.
        llm: A server; if it makes no vectors, keywords have to do.
        store: Where vectors are kept.
    """

    def __init__(
        self, terminal: Terminal, passages: Sequence[Passage], llm: LLM, store: Store
    ) -> None:
        texts = [passage.text for passage in passages]
        model = choose_capable(llm.features.models, "embedding") or ""
        self._terminal = terminal
        self._passages = passages
        self._keywords = Keywords(texts)
        self._meaning: Meaning | None = Meaning(llm, vector_name(llm.features), texts, store)
        self._rough = model == BUILT_IN
        self._k = ROUGH_CANDIDATES if self._rough else CANDIDATES

    @property
    def embedded(self) -> int | None:
        """How many passages are compared by meaning; None if the server makes no vectors."""
        return self._meaning.known if self._meaning is not None else None

    def prepare(self, question: str, seconds: float) -> None:
        """Embed the question and what it may be about.

        Args:
            question: What is asked.
            seconds: How long to embed passages, more or less.
        """
        if self._meaning is None:
            return
        words = self._keywords.rank(question, self._k)
        wanted = [*words, *self._compared(words)]
        try:
            left = self._embed(self._meaning, question, wanted, seconds)
            if left.remaining:
                self._terminal.fact("Search", left.advice)
        except Exception as error:
            if not is_for_the_user(error):
                raise
            self._meaning = None
            self._terminal.fact("Search", f"by keywords alone. {error}")

    def find(self, question: str, k: int) -> list[Passage]:
        """Return the k best passages for a question that was prepared."""
        words = self._keywords.rank(question, self._k)
        if self._meaning is None:
            best = words
        else:
            meaning = self._meaning.rank(question, self._compared(words), self._k)
            best = fuse(words, meaning, rough=self._rough)
        return [self._passages[index] for index in best[:k]]

    def _compared(self, words: Sequence[int]) -> Sequence[int]:
        """Return which passages are compared by meaning, given those with the best words."""
        return words if self._rough and words else range(len(self._passages))

    def _embed(
        self, meaning: Meaning, question: str, wanted: Sequence[int], seconds: float
    ) -> Countdown:
        if meaning.open(question):
            changed = "the model makes other vectors than before: they are made anew"
            self._terminal.fact("Search", changed)
        missing = meaning.missing(wanted)
        left = Countdown(len(missing))
        if missing:
            with self._terminal.waiting("Embedding passages, once", lambda: left.text):
                meaning.embed(missing, seconds, left.count)
        return left


class Countdown:
    """How many there are still to do, and how long that takes.

    Args:
        total: How many there are.
    """

    def __init__(self, total: int) -> None:
        self.done = 0
        self.remaining = total
        self._begin = time.monotonic()

    def count(self, more: int) -> None:
        """Take note of what is done."""
        self.done += more
        self.remaining -= more

    @property
    def duration(self) -> str:
        """How long the rest takes, if it goes on like that."""
        if not self.done:
            return "an unknown time"
        seconds = (time.monotonic() - self._begin) / self.done * self.remaining
        return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"

    @property
    def text(self) -> str:
        """How far it is."""
        return f"{self.done} done, {self.remaining} to do, {self.duration}"

    @property
    def advice(self) -> str:
        """What to do about the rest."""
        return (
            f"{self.done} more passages embedded; the other {self.remaining} would take "
            f"{self.duration}: the next question goes on with them (ask --embed-all: now)"
        )
