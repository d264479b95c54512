"""What a model is told, and how it is to answer, whichever framework asks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["BUILT_IN", "INSTRUCTION", "Style", "style_of"]

BUILT_IN = "embedded"
"""The name of the small built-in model."""

INSTRUCTION = "Answer the question in one short sentence from this text."
"""So plain that a very small model does it, too."""


@dataclass(frozen=True, slots=True)
class Style:
    """How much a model takes in, and when its answer ends.

    Attributes:
        sources: How many passages it is given.
        options: Fields of ``ChatMlxcel`` and ``Mlxcel``.
    """

    sources: int
    options: dict[str, Any] = field(default_factory=dict)


_USUAL = Style(4, {"temperature": 0, "reasoning": False, "max_tokens": 512})
# It was never trained to chat: of several passages it mixes up the words, and it never stops.
_BUILT_IN = Style(
    1, {"temperature": 0, "reasoning": False, "max_tokens": 60, "stop": ["\n\n", "\n#"]}
)


def style_of(model: str) -> Style:
    """Return how to ask a model, by its name."""
    return _BUILT_IN if model == BUILT_IN else _USUAL
