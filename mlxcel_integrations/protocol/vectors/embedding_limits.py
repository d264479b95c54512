"""Longest text that a model can embed: a longer one is refused before it is sent, or cut."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import MlxcelError
from ..arguments import shown
from ..failures import Failure
from ..flow import Call, Flow
from ..tokens.tokenize import count_texts, read_tokens
from ..validation import as_count, as_object, error_text
from .vector_models import VectorMemory, served_models

__all__ = ["fit_texts", "known_limit", "may_exceed", "token_limit"]

MIN_TOKEN_LIMIT = 256
"""No model embeds fewer tokens than this; a token has at least one byte."""

MAX_SPECIAL_TOKENS = 8
"""Most tokens that begin and end a text."""

_LIMIT = re.compile(
    r"batch size: (\d+)"  # llama.cpp
    r"|(?:less than|at most|maximum of) (\d+) tokens"
    r"|maximum (?:context |sequence |input )?length (?:is|of) (\d+)",
    re.IGNORECASE,
)


def token_limit(failure: Failure) -> int | None:
    """Return the limit for the tokens of a text that a refusal names; None for other failures."""
    error = as_object(failure.body)
    if error.get("type") == "exceed_context_size_error":
        return as_count(error.get("n_ctx"))
    found = _LIMIT.search(error_text(failure.body))
    return as_count(int(next(filter(None, found.groups())))) if found else None


def known_limit(texts: Sequence[str], model: str, memory: VectorMemory) -> Flow[int | None]:
    """Return the most tokens of a text, None if unknown or if none of the texts can have more.

    Args:
        texts: The texts.
        model: Name of the model.
        memory: What is known about the server.
    """
    if not any(may_exceed(text, MIN_TOKEN_LIMIT) for text in texts):
        return None
    served = yield from served_models(memory)
    # With several models, the server counts with the tokenizer of another one.
    memory.counts_exactly = len(served) == 1
    if not memory.counts_exactly:
        return None
    return memory.limits.get(model) or served[0].context_size


def fit_texts(
    texts: Sequence[str],
    places: Sequence[int],
    limit: int,
    truncate: bool,
    memory: VectorMemory,
) -> Flow[Sequence[str]]:
    """Return texts that the model can embed.

    Args:
        texts: The texts.
        places: The index of each in the user's list.
        limit: The most tokens of a text.
        truncate: Whether to cut texts that are longer.
        memory: What is known about the server.

    Raises:
        MlxcelError: A text is too long, and ``truncate`` is off.
    """
    long = [index for index, text in enumerate(texts) if may_exceed(text, limit)]
    if not long:
        return texts
    special = yield from _count_alone("", add_special=True)
    counts = yield from count_texts([texts[index] for index in long], memory.tokens)
    result = list(texts)
    for index, count in zip(long, counts, strict=True):
        if count + special <= limit:
            continue
        if not truncate:
            raise MlxcelError(
                f"texts[{places[index]}], {shown(texts[index][:40])}, has {count + special} "
                f"tokens, but the model embeds at most {limit}: split it, or pass truncate=True to "
                "cut it there."
            )
        result[index] = yield from _truncated(texts[index], limit - special)
    return result


def may_exceed(text: str, limit: int) -> bool:
    """Return quickly whether a text may have more tokens than the limit."""
    if 4 * len(text) + MAX_SPECIAL_TOKENS <= limit:
        return False
    return len(text.encode(errors="surrogatepass")) + MAX_SPECIAL_TOKENS > limit


def _truncated(text: str, most: int) -> Flow[str]:
    """Return the longest beginning of a text that has at most so many tokens.

    Found by bisection, since not every tokenizer can return the text of its tokens.
    """
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if (yield from _count_alone(text[:middle])) <= most:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _count_alone(text: str, *, add_special: bool = False) -> Flow[int]:
    body = {"content": text, "add_special": add_special}
    return len(read_tokens((yield Call("/tokenize", body, frozenset()))))
