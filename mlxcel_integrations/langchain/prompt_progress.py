"""Progress of a prompt in LangChain: custom events, and chunks without content."""

from __future__ import annotations

import dataclasses

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
    CallbackManagerForLLMRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from ..protocol.prompt_progress import PromptProgress
from .content_blocks import PROVIDER

__all__ = ["EVENT", "adispatch_progress", "dispatch_progress", "progress_chunk"]

EVENT = "prompt_progress"
"""Name of the custom events, and of the metadata of chunks."""


def dispatch_progress(progress: PromptProgress, run: CallbackManagerForLLMRun | None) -> None:
    """Dispatch a custom event of a run."""
    if run is not None:
        callbacks = CallbackManager(
            run.handlers, parent_run_id=run.run_id, tags=run.tags, metadata=run.metadata
        )
        dispatch_custom_event(EVENT, dataclasses.asdict(progress), config={"callbacks": callbacks})


async def adispatch_progress(
    progress: PromptProgress, run: AsyncCallbackManagerForLLMRun | None
) -> None:
    """Dispatch a custom event of a run without blocking the event loop."""
    if run is not None:
        callbacks = AsyncCallbackManager(
            run.handlers, parent_run_id=run.run_id, tags=run.tags, metadata=run.metadata
        )
        data = dataclasses.asdict(progress)
        await adispatch_custom_event(EVENT, data, config={"callbacks": callbacks})


def progress_chunk(progress: PromptProgress) -> ChatGenerationChunk:
    """Return a chunk without content that carries a progress.

    It is in a list, since LangChain adds up the numbers of the chunks of a message.
    """
    metadata = {"model_provider": PROVIDER, EVENT: [dataclasses.asdict(progress)]}
    return ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=metadata))
