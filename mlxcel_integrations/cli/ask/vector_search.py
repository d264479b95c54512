"""Vector search: texts by meaning, embedded by the server and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...client import LLM
from ...embedded import BUILT_IN_EMBEDDER
from ...protocol.discovery import choose_capable
from ...protocol.features import ServerFeatures
from .store import Store

__all__ = ["VectorIndex", "vector_name"]

Vector = NDArray[np.float32]

_FIRST_BATCH, _MAX_BATCH = 4, 1024
_BATCH_SECONDS = 1.0


class VectorIndex:
    """An index of texts by meaning, ranked by cosine similarity.

    Args:
        llm: A server that embeds.
        texts: The texts to search.
        store: Where vectors are kept.
    """

    def __init__(self, llm: LLM, texts: Sequence[str], store: Store) -> None:
        self._llm = llm
        self._texts = texts
        self._store = store
        self._questions: dict[str, Vector] = {}
        self._vectors: dict[str, Vector] = {}

    @cached_property
    def _model(self) -> str:
        """Name of the vectors in the store."""
        return vector_name(self._llm.features)

    @property
    def known(self) -> int:
        """Number of texts that have a vector."""
        return sum(text in self._vectors for text in self._texts)

    def open(self, question: str) -> bool:
        """Embed a question, and load the vectors that are kept.

        Returns:
            Whether they were dropped, since the model now returns vectors of another size.

        Raises:
            MlxcelError: The server does not embed.
            openai.APIError: The server rejected the request, or could not be reached.
        """
        self._questions[question] = vector = _unit_vector(self._llm.embed([question])[0])
        if self._vectors:
            return False
        dropped = self._store.drop_other_sizes(self._model, vector.nbytes)
        if self._model.startswith(BUILT_IN_EMBEDDER):
            dropped |= self._store.drop_legacy()
        kept = self._store.vectors(self._model, self._texts)
        self._vectors = {text: np.frombuffer(numbers, np.float32) for text, numbers in kept.items()}
        return dropped

    def missing(self, indices: Iterable[int]) -> list[str]:
        """Return the texts at these indices that have no vector yet, each once."""
        texts = dict.fromkeys(self._texts[index] for index in indices)
        return [text for text in texts if text not in self._vectors]

    def embed(self, texts: Sequence[str], seconds: float, done: Callable[[int], object]) -> None:
        """Embed texts, and keep each batch as soon as it is done.

        Args:
            texts: Texts without a vector, the most important first.
            seconds: No batch is begun after this time.
            done: Called with the number of texts in each batch that is done.
        """
        end = time.monotonic() + seconds
        first, size = 0, _FIRST_BATCH
        while first < len(texts) and (begin := time.monotonic()) < end:
            batch = texts[first : first + size]
            first += size
            vectors = dict(zip(batch, map(_unit_vector, self._llm.embed(batch)), strict=True))
            self._vectors |= vectors
            self._store.keep_vectors(self._model, {t: v.tobytes() for t, v in vectors.items()})
            done(len(batch))
            # Short enough to stop in time, large enough to fill all slots of a fast server.
            quick = time.monotonic() - begin < _BATCH_SECONDS / 2
            size = min(size * 2, _MAX_BATCH) if quick else max(size // 2, 1)

    def rank(self, question: str, indices: Iterable[int], k: int) -> dict[int, float]:
        """Return at most k of these indices with their similarities, nearest first.

        Those without a vector are left out.
        """
        known = [index for index in indices if self._texts[index] in self._vectors]
        if not known:
            return {}
        matrix = np.stack([self._vectors[self._texts[index]] for index in known])
        similarities = matrix @ self._questions[question]
        order = np.argsort(-similarities, kind="stable")
        return {known[place]: float(similarities[place]) for place in order[:k]}


def vector_name(features: ServerFeatures) -> str:
    """Return a name that distinguishes the vectors of a server's model from all others."""
    name = choose_capable(features.models, "embedding") or ""
    # With several models, the path is that of the chat model.
    return name if len(features.models) > 1 else f"{name} {features.model_path or ''}"


def _unit_vector(numbers: Sequence[float]) -> Vector:
    vector = np.asarray(numbers, np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
