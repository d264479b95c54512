"""Texts by their words, and two rankings joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bm25s
from Stemmer import Stemmer

__all__ = ["Keywords", "fuse"]

# Chinese and Japanese have no spaces: each character counts as a word.
_WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"

_USUAL_OFFSET, _ROUGH_OFFSET = 60, 10
"""The smaller it is, the more the first places count."""

_ROUGH_WEIGHT = 0.15
"""Too little to put another text before the one with the best words."""


class Keywords:
    """Texts by the words that they share with a question, ranked by BM25.

    Args:
        texts: What is searched.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        self._stemmer = Stemmer("english")
        self._index = bm25s.BM25()
        tokens = self._tokens(texts)
        self._has_words = bool(tokens.vocab)
        if self._has_words:
            self._index.index(tokens, show_progress=False)

    def rank(self, question: str, k: int) -> list[int]:
        """Return at most k texts that share words with a question, the best first."""
        if not self._has_words:
            return []
        words = self._tokens([question], return_ids=False)
        found = self._index.retrieve(words, k=min(k, self._count), show_progress=False)
        (indices,), (scores,) = found
        return [int(index) for index, score in zip(indices, scores, strict=True) if score > 0]

    def _tokens(self, texts: Sequence[str], **options: Any) -> Any:
        return bm25s.tokenize(
            list(texts),
            token_pattern=_WORD,
            # Which they are depends on the language, and they weigh little anyway.
            stopwords=None,
            stemmer=self._stemmer,
            show_progress=False,
            **options,
        )


def fuse(words: Sequence[int], meaning: Sequence[int], *, rough: bool = False) -> list[int]:
    """Join two rankings by reciprocal rank: what stands high in both comes first.

    Args:
        words: What shares words with a question, the best first.
        meaning: What means something similar, the best first.
        rough: Whether the second one is not to be relied upon: then it counts little, and first
            places count more.
    """
    offset, weight = (_ROUGH_OFFSET, _ROUGH_WEIGHT) if rough else (_USUAL_OFFSET, 1.0)
    scores = {index: 1 / (offset + place) for place, index in enumerate(words, 1)}
    for place, index in enumerate(meaning, 1):
        scores[index] = scores.get(index, 0) + weight / (offset + place)
    return sorted(scores, key=lambda index: -scores[index])
