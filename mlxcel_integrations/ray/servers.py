"""The servers of an actor: each row is asked where a slot is free, and again if that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

import openai
from pydantic import Field

from ..adapters import ChatAdapter
from ..async_client import AsyncLLM
from ..errors import MlxcelError, MlxcelServerError, MlxcelStreamError
from ..protocol.stream import ChatReply
from ..structured.request import StructuredChat

__all__ = ["BatchModel", "ServerLost", "Servers"]

DEFAULT_SLOTS = 4
"""How many rows are asked at once of a server that does not tell how many it works on."""

ATTEMPTS = 3
"""How often a row is asked that loses its server; it may be the row that ends it."""

LOST = (
    MlxcelServerError,
    MlxcelStreamError,
    openai.APIConnectionError,
    openai.InternalServerError,
)
"""What may be the fault of the server, and not of the row."""


class ServerLost(MlxcelServerError):
    """A server could not be reached, or did not come back: no row can be answered any more."""


class BatchModel(ChatAdapter):
    """A model on one server, with all its options."""

    # Refused connections and busy servers: for about two minutes, in which a server starts again.
    max_retries: int = Field(default=20, ge=0)

    @property
    def llm(self) -> AsyncLLM:
        """The client of the server."""
        return self._async_llm

    @property
    def sampling(self) -> dict[str, Any]:
        """The fields of each request."""
        return self._with_reasoning(self._own_sampling)


class Servers:
    """One model on one or more servers, for one event loop.

    Args:
        models: The model, once for each server.
        concurrency: How many requests are sent at once to each; as many as it has slots if None.
    """

    def __init__(self, models: Sequence[BatchModel], concurrency: int | None) -> None:
        self._llms = [model.llm for model in models]
        self._concurrency = concurrency
        self._opening = asyncio.Lock()
        self._free: asyncio.Queue[AsyncLLM] | None = None

    async def ask(self, question: StructuredChat) -> ChatReply:
        """Return the answer of a server that has a free slot; wait until there is one.

        Raises:
            ServerLost: A server is gone.
            MlxcelStreamError: The answer broke off each time.
            openai.APIError: The server refused the request, or broke down each time.
        """
        free = await self._slots()
        attempt = 0
        while True:
            attempt += 1
            llm = await free.get()
            try:
                return await llm.complete_chat(question.messages, **question.sampling)
            except openai.APITimeoutError:
                raise
            except LOST:
                # Other rows go on with other servers; this slot is free once its server is back.
                await _reach(llm)
                if attempt == ATTEMPTS:
                    raise
            finally:
                free.put_nowait(llm)

    async def _slots(self) -> asyncio.Queue[AsyncLLM]:
        """Return the free slots: each server as often as it has one."""
        async with self._opening:
            if self._free is None:
                free: asyncio.Queue[AsyncLLM] = asyncio.Queue()
                slots = await asyncio.gather(*map(self._slots_of, self._llms))
                # In turns, so that the first rows do not all go to the first server.
                for llm in chain.from_iterable(zip_longest(*slots)):
                    if llm is not None:
                        free.put_nowait(llm)
                self._free = free
        return self._free

    async def _slots_of(self, llm: AsyncLLM) -> list[AsyncLLM]:
        await _reach(llm)
        slots = self._concurrency or (await llm.features).slots
        return [llm] * (slots or DEFAULT_SLOTS)


async def _reach(llm: AsyncLLM) -> None:
    """Wait until a server answers; one of ours is started, again if it has ended.

    Raises:
        ServerLost: It does not.
    """
    try:
        await llm.models()
    except (MlxcelError, openai.APIError) as error:
        # Ray cannot send every exception of openai to where it is read.
        raise ServerLost(f"The job cannot go on without its server. {error}") from error
