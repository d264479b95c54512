"""A ``SentenceSplitter`` that keeps its tokenizer, and has many pieces of text counted at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.node_parser import SentenceSplitter
from pydantic import BaseModel

from .base import portable_fields
from .tokenizer import MlxcelTokenizer

__all__ = ["ExactSentenceSplitter"]

Split = Callable[[str], list[str]]


class ExactSentenceSplitter(SentenceSplitter):
    """A ``SentenceSplitter`` that counts with a served model, in other processes too.

    Args:
        tokenizer: What counts.
        **options: Other arguments of ``SentenceSplitter``.
    """

    def __init__(self, *, tokenizer: MlxcelTokenizer, **options: Any) -> None:
        super().__init__(tokenizer=tokenizer, **options)
        self._split_fns = _counting_ahead(self._split_fns, tokenizer)
        self._sub_sentence_split_fns = _counting_ahead(self._sub_sentence_split_fns, tokenizer)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the functions that split, which are made anew; the base class logs each."""
        state = BaseModel.__getstate__(self)
        kept = {"_tokenizer": self._tokenizer}
        fields = portable_fields(self, state["__dict__"])
        return {**state, "__dict__": fields, "__pydantic_private__": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The base class makes a new splitter from the fields, of which the tokenizer is none.
        tokenizer = state["__pydantic_private__"]["_tokenizer"]
        super().__setstate__({**state, "__dict__": {**state["__dict__"], "tokenizer": tokenizer}})


def _counting_ahead(splits: list[Split], tokenizer: MlxcelTokenizer) -> list[Split]:
    """Return what splits as before, and has the pieces counted in one request."""

    def counting_ahead(split: Split) -> Split:
        def counted(text: str) -> list[str]:
            pieces = split(text)
            tokenizer.count_ahead(pieces)
            return pieces

        return counted

    return [counting_ahead(split) for split in splits]
