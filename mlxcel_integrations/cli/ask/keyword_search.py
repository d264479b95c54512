"""Keyword search with BM25, and the fusion of two rankings."""

from __future__ import annotations

import heapq
import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, takewhile

__all__ = ["KeywordIndex", "fuse_rankings"]

# Each character counts as a word: Chinese and Japanese have no spaces, and Korean words have
# another ending for each role in a sentence.
_ONE_CHARACTER_WORD = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
_LETTERS = r"[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]*"
_WORD = re.compile(f"{_ONE_CHARACTER_WORD}|{_LETTERS.replace('*', '+')}")
_LETTER = re.compile(_LETTERS.replace("*", ""))

_SATURATION, _LENGTH_WEIGHT = 1.5, 0.3
"""The parameters of BM25 that are usually called k1 and b; passages are nearly equal in length."""

_MAX_OCCURRENCES_PER_TEXT = 5
"""A word with more occurrences per text than this is left out if a rarer one was found."""


class KeywordIndex:
    """Texts that are ranked by their words with BM25.

    Nothing is prepared but one long text, in which the words of each question are looked up: to
    index all words of a large log would take far longer than to search it for a few.

    Args:
        texts: The texts to search.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from Stemmer import Stemmer  # an extra, which other commands do without

        lowered = [text.lower() for text in texts]
        self._text = "\n".join(lowered)
        self._lengths = [len(text) + 1 for text in lowered]
        self._starts = list(accumulate(self._lengths, initial=0))[:-1]
        self._mean_length = max(len(self._text) / max(len(texts), 1), 1)
        self._stemmer = Stemmer("english")

    def rank(self, question: str, k: int) -> dict[int, float]:
        """Return at most k texts that share words with a question, best first.

        Args:
            question: The question.
            k: Number of texts.

        Returns:
            Their indices with their scores.
        """
        scores: dict[int, float] = defaultdict(float)
        for places, stem, prefix in self._rarest_first(question):
            if places > _MAX_OCCURRENCES_PER_TEXT * len(self._starts) and scores:
                break
            self._add_scores(scores, Counter(self._texts_with(stem, prefix)))
        return dict(heapq.nlargest(k, scores.items(), key=lambda item: (item[1], -item[0])))

    def _rarest_first(self, question: str) -> list[tuple[int, str, str]]:
        """Return each word as the places with its first letters, its stem, and these letters."""
        stems = {self._stemmer.stemWord(word): word for word in _WORD.findall(question.lower())}
        prefixes = {stem: _common_beginning(stem, word) for stem, word in stems.items()}
        return sorted((self._text.count(p), stem, p) for stem, p in prefixes.items() if p)

    def _texts_with(self, stem: str, prefix: str) -> Iterator[int]:
        """Yield the index of a text for each word in it that has this stem."""
        known: dict[str, bool] = {}
        single = re.match(_ONE_CHARACTER_WORD, prefix)
        for found in re.finditer(re.escape(prefix) + ("" if single else _LETTERS), self._text):
            start, word = found.start(), found.group()
            if not single and start and _LETTER.match(self._text, start - 1):
                continue
            if word not in known:
                known[word] = self._stemmer.stemWord(word) == stem
            if known[word]:
                yield bisect_right(self._starts, start) - 1

    def _add_scores(self, scores: dict[int, float], counts: Counter[int]) -> None:
        """Add the BM25 scores of a word, given how often each text has it."""
        others = len(self._starts) - len(counts)
        rarity = math.log(1 + (others + 0.5) / (len(counts) + 0.5))
        for index, count in counts.items():
            length = 1 - _LENGTH_WEIGHT * (1 - self._lengths[index] / self._mean_length)
            scores[index] += rarity * count / (count + _SATURATION * length)


def _common_beginning(stem: str, word: str) -> str:
    """Return the letters that a word keeps in its stem: "happ" of "happi" and "happy"."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(stem, word, strict=False))
    return "".join(letter for letter, _ in pairs)


def fuse_rankings(by_words: Mapping[int, float], by_meaning: Mapping[int, float]) -> list[int]:
    """Join two rankings by the sum of their scores, each as a share of the largest.

    Unlike ranks, scores show how much better a text with every rare word of a question is than one
    with a few.

    Args:
        by_words: Scores of texts by the words that they share with a question.
        by_meaning: Scores of texts by their similarity in meaning.

    Returns:
        The indices of the texts, best first.
    """
    joined: dict[int, float] = defaultdict(float)
    for scores in (by_words, by_meaning):
        largest = max(scores.values(), default=0) or 1
        for index, score in scores.items():
            # A similarity below zero means no more than zero.
            joined[index] += max(score, 0) / largest
    return sorted(joined, key=lambda index: -joined[index])
