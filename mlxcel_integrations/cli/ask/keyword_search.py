"""Keyword search with BM25, and reciprocal rank fusion of two rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bm25s
from Stemmer import Stemmer

__all__ = ["KeywordIndex", "fuse_rankings"]

# Chinese and Japanese have no spaces: each character counts as a word.
_WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"

_USUAL_OFFSET, _ROUGH_OFFSET = 60, 10
"""The smaller the offset, the more the first places count."""

_ROUGH_WEIGHT = 0.15
"""Too little to put another text ahead of the best one by keywords."""


class KeywordIndex:
    """An index of texts by their words, ranked by BM25.

    Args:
        texts: The texts to search.
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
        """Return the indices of at most k texts that share words with a question, best first."""
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
            # They depend on the language, and BM25 gives frequent words little weight anyway.
            stopwords=None,
            stemmer=self._stemmer,
            show_progress=False,
            **options,
        )


def fuse_rankings(
    by_words: Sequence[int], by_meaning: Sequence[int], *, rough: bool = False
) -> list[int]:
    """Join two rankings by reciprocal rank: a text high in both comes first.

    Args:
        by_words: Texts by the words that they share with a question, best first.
        by_meaning: Texts by their similarity in meaning, best first.
        rough: Whether the ranking by meaning is unreliable: it then counts little, and first
            places count more.
    """
    offset, weight = (_ROUGH_OFFSET, _ROUGH_WEIGHT) if rough else (_USUAL_OFFSET, 1.0)
    scores = {index: 1 / (offset + place) for place, index in enumerate(by_words, 1)}
    for place, index in enumerate(by_meaning, 1):
        scores[index] = scores.get(index, 0) + weight / (offset + place)
    return sorted(scores, key=lambda index: -scores[index])
