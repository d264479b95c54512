"""Progress of a prompt in LlamaIndex: an event of its instrumentation."""

from __future__ import annotations

import dataclasses

from llama_index.core.instrumentation import (  # type: ignore[attr-defined]  # missing in __all__ there
    get_dispatcher,
)
from llama_index.core.instrumentation.events import BaseEvent

from ..protocol.answers.delta import Delta

__all__ = ["PromptProgressEvent", "with_progress_event"]

dispatcher = get_dispatcher(__name__)


class PromptProgressEvent(BaseEvent):
    """How much of a prompt the server has read, with ``return_progress=True``.

    Attributes:
        total: Tokens of the prompt.
        cache: Tokens of it that the server still knew from an earlier request.
        processed: Tokens that it has read, including cached ones.
        time_ms: Milliseconds that it has spent on them.
        share: The part of the prompt that has been read, from 0 to 1.
    """

    total: int
    cache: int
    processed: int
    time_ms: float
    share: float

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "PromptProgressEvent"


def with_progress_event(delta: Delta) -> Delta:
    """Return a delta after sending an event if it reports progress."""
    if (progress := delta.prompt_progress) is not None:
        numbers = dataclasses.asdict(progress)
        dispatcher.event(PromptProgressEvent(**numbers, share=progress.share))
    return delta
