"""A ``SentenceSplitter`` that keeps its tokenizer when pickled, and counts pieces in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.node_parser import SentenceSplitter
from pydantic import BaseModel

from ..adapters.pickling import picklable_fields
from .tokenizer import MlxcelTokenizer

__all__ = ["ExactSentenceSplitter"]

Split = Callable[[str], list[str]]


class ExactSentenceSplitter(SentenceSplitter):
    """A ``SentenceSplitter`` that counts with a served model, in other processes too.

    Args:
        tokenizer: The tokenizer of the model.
        **options: Other arguments of ``SentenceSplitter``.
    """

    def __init__(self, *, tokenizer: MlxcelTokenizer, **options: Any) -> None:
        super().__init__(tokenizer=tokenizer, **options)
        self._split_fns = _counting_ahead(self._split_fns, tokenizer)
        self._sub_sentence_split_fns = _counting_ahead(self._sub_sentence_split_fns, tokenizer)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the splitting functions, which are made again after unpickling."""
        # SentenceSplitter's own method would log each function that cannot be pickled.
        state = BaseModel.__getstate__(self)
        fields = picklable_fields(type(self), state["__dict__"])
        private = {"_tokenizer": self._tokenizer}
        return {**state, "__dict__": fields, "__pydantic_private__": private}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The base class calls the constructor with the fields, and the tokenizer is not a field.
        tokenizer = state["__pydantic_private__"]["_tokenizer"]
        super().__setstate__({**state, "__dict__": {**state["__dict__"], "tokenizer": tokenizer}})


def _counting_ahead(splits: list[Split], tokenizer: MlxcelTokenizer) -> list[Split]:
    """Return functions that split as before, and count all pieces in one request."""

    def counting_ahead(split: Split) -> Split:
        def counted(text: str) -> list[str]:
            pieces = split(text)
            tokenizer.count_ahead(pieces)
            return pieces

        return counted

    return [counting_ahead(split) for split in splits]
