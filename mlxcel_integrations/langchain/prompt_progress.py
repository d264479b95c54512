"""Progress of a prompt in LangChain: chunks without content in streams, or else custom events."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

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

from ..protocol.answers.delta import Delta
from .content_blocks import PROVIDER

if TYPE_CHECKING:
    from ..protocol.answers.prompt_progress import PromptProgress

__all__ = ["adispatching", "dispatching", "progress_chunk"]

_EVENT = "prompt_progress"
"""Name of the custom events, and of the metadata of chunks."""


def dispatching(deltas: Iterable[Delta], run: CallbackManagerForLLMRun | None) -> Iterable[Delta]:
    """Return the deltas; reading one that reports progress dispatches a custom event.

    Args:
        deltas: The deltas of an answer.
        run: The run of the answer, None without one.
    """
    return _dispatching(deltas, run) if run is not None and run.handlers else deltas


def _dispatching(deltas: Iterable[Delta], run: CallbackManagerForLLMRun) -> Iterator[Delta]:
    for delta in deltas:
        if delta.prompt_progress is not None:
            callbacks = CallbackManager(run.handlers, parent_run_id=run.run_id)
            data = dataclasses.asdict(delta.prompt_progress)
            dispatch_custom_event(_EVENT, data, config={"callbacks": callbacks})
        yield delta


async def adispatching(
    deltas: AsyncIterable[Delta], run: AsyncCallbackManagerForLLMRun | None
) -> AsyncIterator[Delta]:
    """Yield deltas after dispatching a custom event for each progress; see ``dispatching``."""
    async for delta in deltas:
        if delta.prompt_progress is not None and run is not None:
            callbacks = AsyncCallbackManager(run.handlers, parent_run_id=run.run_id)
            data = dataclasses.asdict(delta.prompt_progress)
            await adispatch_custom_event(_EVENT, data, config={"callbacks": callbacks})
        yield delta


def progress_chunk(progress: PromptProgress) -> ChatGenerationChunk:
    """Return a chunk without content that reports progress.

    The numbers are in a list, since LangChain would add up those of a message's chunks.
    """
    metadata = {"model_provider": PROVIDER, _EVENT: [dataclasses.asdict(progress)]}
    return ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=metadata))
