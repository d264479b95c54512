"""English or not: by the words that are frequent in any English text."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["are_english"]

_FREQUENT = {
    *("the", "of", "and", "to", "in", "is", "a", "that", "it", "for", "was", "on", "are", "as"),
    *("with", "be", "by", "at", "from", "this", "not", "or", "which"),
}

_LEAST = 0.1
"""Share of frequent words: a quarter is usual in English, and one in thirty elsewhere."""

_SAMPLE = 200
"""Texts that are looked at."""

_WORD = re.compile(r"[^\W\d_]+")


def are_english(texts: Sequence[str]) -> bool:
    """Tell whether texts are in English, most of them at least."""
    step = len(texts) // _SAMPLE + 1
    words = [word for text in texts[::step] for word in _WORD.findall(text.lower())]
    return sum(word in _FREQUENT for word in words) >= _LEAST * max(len(words), 1)
