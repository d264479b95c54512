"""Detection of English by the words that are frequent in any English text."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["are_english", "are_foreign"]

_ENGLISH_WORDS = {
    *("the", "of", "and", "to", "in", "is", "a", "that", "it", "for", "was", "on", "are", "as"),
    *("with", "be", "by", "at", "from", "this", "not", "or", "which"),
}

_FOREIGN_WORDS = {
    *("der", "und", "ist", "nicht", "mit", "ein", "eine", "den", "von", "le", "les", "des", "est"),
    *("et", "une", "pour", "el", "los", "las", "que", "del", "por", "para", "il", "di", "che"),
    *("per", "non", "een", "het", "van", "och", "att", "som", "na", "nie", "jest", "uma", "com"),
}
"""Frequent words of other languages in Latin letters."""

_MIN_ENGLISH_SHARE = 0.1
"""Share of frequent words: a quarter is usual in English, and one in thirty elsewhere."""

_SAMPLE_SIZE = 200
"""Number of texts to look at."""

_WORD = re.compile(r"[^\W\d_]+")


def are_english(texts: Sequence[str]) -> bool:
    """Return whether texts are in English, or at least most of them."""
    step = len(texts) // _SAMPLE_SIZE + 1
    words = [word for text in texts[::step] for word in _WORD.findall(text.lower())]
    return sum(word in _ENGLISH_WORDS for word in words) >= _MIN_ENGLISH_SHARE * max(len(words), 1)


def are_foreign(texts: Sequence[str]) -> bool:
    """Return whether texts, such as tables, have more words of another language than of English."""
    words = [word for text in texts[:_SAMPLE_SIZE] for word in _WORD.findall(text.lower())]
    foreign = sum(word in _FOREIGN_WORDS or not word.isascii() for word in words)
    return foreign > max(sum(word in _ENGLISH_WORDS for word in words), 0.05 * len(words), 1)
