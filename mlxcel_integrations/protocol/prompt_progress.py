"""Progress of a prompt that a server reads before it answers, as llama.cpp reports it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import MlxcelError
from .arguments import number, shown
from .validation import as_count, as_object

__all__ = ["PromptProgress", "asking_for_progress", "progress_of", "without_progress"]


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """How much of a prompt a server has read.

    Attributes:
        total: Tokens of the prompt.
        cache: Tokens of it that the server still knew from an earlier request.
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
    """Return the progress that an event reports, None if it reports none that is possible."""
    told = as_object(event.get("prompt_progress"))
    total, cache, processed = (as_count(told.get(name)) for name in ("total", "cache", "processed"))
    if total is None or (processed or 0) > total:
        return None
    time_ms = number(told.get("time_ms")) or 0.0
    return PromptProgress(total, min(cache or 0, total), processed or 0, time_ms)


def asking_for_progress(sampling: Mapping[str, Any], progress: object) -> Mapping[str, Any]:
    """Return sampling fields that ask for progress if a function is given for it.

    Args:
        sampling: The fields; ``return_progress`` among them stays.
        progress: The function, None without one.

    Raises:
        MlxcelError: It cannot be called, or would have to be awaited.
    """
    if progress is not None and not callable(progress):
        raise MlxcelError(
            f"progress={shown(progress)} must be a function that takes a PromptProgress, "
            f"not {type(progress).__name__}."
        )
    if inspect.iscoroutinefunction(progress):
        raise MlxcelError(
            f"progress={shown(progress)} must be a plain function: its result is not awaited."
        )
    return sampling if progress is None else {"return_progress": True, **sampling}


def without_progress(sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return sampling fields that do not ask for progress."""
    return {name: value for name, value in sampling.items() if name != "return_progress"}
