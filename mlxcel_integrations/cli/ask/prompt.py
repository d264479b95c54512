"""Prompt and options of the model, the same for both frameworks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...embedded import BUILT_IN_MODEL

__all__ = ["INSTRUCTION", "Style", "prompt_style"]

INSTRUCTION = "Answer the question in one short sentence from this text."
"""Simple enough for a very small model."""


@dataclass(frozen=True, slots=True)
class Style:
    """Prompt size and options that suit a model.

    Attributes:
        sources: Number of passages in the prompt.
        options: Fields of ``ChatMlxcel`` and ``Mlxcel``.
        best_rows_first: Whether the rows of a table are put in the order of their relevance.
    """

    sources: int
    options: dict[str, Any] = field(default_factory=dict)
    best_rows_first: bool = False


_NOT_BLANK = r'root ::= " "? [^ \n] ([^\n] | "\n")*'
"""A grammar of llama.cpp: without it, some answers begin with a blank line, and end there."""

_DEFAULT_STYLE = Style(4, {"temperature": 0, "reasoning": False, "max_tokens": 512})
# It was not trained to chat: it mixes up several passages, and tends to answer from the first row
# of a table. It often repeats the first line of an answer, or goes on with another question.
_BUILT_IN_STYLE = Style(
    1,
    {
        "temperature": 0,
        "reasoning": False,
        "max_tokens": 60,
        "stop": ["\n"],
        "extra_body": {"grammar": _NOT_BLANK},
    },
    best_rows_first=True,
)


def prompt_style(model: str) -> Style:
    """Return the style for a model, given its name."""
    return _BUILT_IN_STYLE if model == BUILT_IN_MODEL else _DEFAULT_STYLE
