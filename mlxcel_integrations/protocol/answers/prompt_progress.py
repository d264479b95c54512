"""Progress of a prompt that a server reads before it answers, as llama.cpp reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..arguments import number
from ..validation import as_count, as_object

__all__ = ["PromptProgress", "progress_of"]


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """How much of a prompt a server has read.

    Attributes:
        total: Tokens of the prompt.
        cache: Tokens of it that the server still had from an earlier request.
        processed: Tokens that it has read, those of the cache included.
        time_ms: Milliseconds that it has spent on them.

    Examples:
        >>> from mlxcel_integrations import PromptProgress
        >>> PromptProgress(total=2000, cache=0, processed=800, time_ms=5000.0).share
        0.4
    """

    total: int
    cache: int
    processed: int
    time_ms: float

    @property
    def share(self) -> float:
        """The part of the prompt that has been read, from 0 to 1."""
        return self.processed / self.total


def progress_of(event: Mapping[str, Any]) -> PromptProgress | None:
    """Return the progress that an event reports, None if it is missing or impossible."""
    told = as_object(event.get("prompt_progress"))
    total, cache, processed = (as_count(told.get(name)) for name in ("total", "cache", "processed"))
    if total is None or (processed or 0) > total:
        return None
    time_ms = number(told.get("time_ms")) or 0.0
    return PromptProgress(total, min(cache or 0, total), processed or 0, time_ms)
