"""Texts by meaning: vectors from the server, each made once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...client import LLM
from ...protocol.features import ServerFeatures, choose_capable
from .store import Store

__all__ = ["Meaning", "vector_name"]

Vector = NDArray[np.float32]

_FIRST_BATCH, _LARGEST_BATCH = 4, 1024
_BATCH_SECONDS = 1.0


class Meaning:
    """Texts by what they mean: those whose vectors point the same way as the question's.

    Args:
        llm: A server that embeds.
        model: What the vectors are called in the store.
        texts: What is searched.
        store: Where vectors are kept.
    """

    def __init__(self, llm: LLM, model: str, texts: Sequence[str], store: Store) -> None:
        self._llm = llm
        self._model = model
        self._texts = texts
        self._store = store
        self._questions: dict[str, Vector] = {}
        self._vectors: dict[str, Vector] = {}

    @property
    def known(self) -> int:
        """How many texts have a vector."""
        return sum(text in self._vectors for text in self._texts)

    def open(self, question: str) -> bool:
        """Embed a question, and get the vectors that are kept.

        Returns:
            Whether they were dropped, since the model makes longer or shorter ones now.

        Raises:
            MlxcelError: The server does not embed.
            openai.APIError: The server could not be asked.
        """
        self._questions[question] = vector = _unit(self._llm.embed([question])[0])
        if self._vectors:
            return False
        dropped = self._store.drop_others(self._model, vector.nbytes)
        kept = self._store.vectors(self._model, self._texts)
        self._vectors = {text: np.frombuffer(numbers, np.float32) for text, numbers in kept.items()}
        return dropped

    def missing(self, indices: Iterable[int]) -> list[str]:
        """Return those of some texts that have no vector yet, each once."""
        texts = dict.fromkeys(self._texts[index] for index in indices)
        return [text for text in texts if text not in self._vectors]

    def embed(self, texts: Sequence[str], seconds: float, done: Callable[[int], object]) -> None:
        """Embed texts, and keep each batch at once.

        Args:
            texts: What has no vector yet, the most important first.
            seconds: When to begin no more.
            done: Called with how many more are done.
        """
        end = time.monotonic() + seconds
        first, size = 0, _FIRST_BATCH
        while first < len(texts) and (begin := time.monotonic()) < end:
            batch = texts[first : first + size]
            first += size
            vectors = dict(zip(batch, map(_unit, self._llm.embed(batch)), strict=True))
            self._vectors |= vectors
            self._store.keep_vectors(self._model, {t: v.tobytes() for t, v in vectors.items()})
            done(len(batch))
            # Short enough to be interrupted, large enough for all slots of a fast server.
            quick = time.monotonic() - begin < _BATCH_SECONDS / 2
            size = min(size * 2, _LARGEST_BATCH) if quick else max(size // 2, 1)

    def rank(self, question: str, indices: Iterable[int], k: int) -> list[int]:
        """Return at most k of some texts, those that have a vector, the nearest first."""
        known = [index for index in indices if self._texts[index] in self._vectors]
        if not known:
            return []
        matrix = np.stack([self._vectors[self._texts[index]] for index in known])
        order = np.argsort(-(matrix @ self._questions[question]), kind="stable")
        return [known[place] for place in order[:k]]


def vector_name(features: ServerFeatures) -> str:
    """Return what tells the vectors of a server from those of others."""
    name = choose_capable(features.models, "embedding") or ""
    # Of several models, the path is that of the one for chats.
    return name if len(features.models) > 1 else f"{name} {features.model_path or ''}"


def _unit(numbers: Sequence[float]) -> Vector:
    vector = np.asarray(numbers, np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
