"""Servers of an actor: each row goes to one with a free slot, and again if the server is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

import openai
from pydantic import Field

from ..adapters.generation import ChatAdapter
from ..async_client import AsyncLLM
from ..errors import MlxcelError, MlxcelServerError, MlxcelStreamError
from ..protocol.answers.reply import ChatReply
from ..protocol.discovery import DEFAULT_SLOTS
from ..structured.request import StructuredChat

__all__ = ["BatchModel", "ServerLost", "Servers"]

ATTEMPTS = 3
"""Attempts at a row that loses its server each time: the row itself may kill it."""

SERVER_ERRORS = (
    MlxcelServerError,
    MlxcelStreamError,
    openai.APIConnectionError,
    openai.InternalServerError,
)
"""Errors that may be the fault of the server and not of the row."""


class ServerLost(MlxcelServerError):
    """A server could not be reached, or did not come back: no more rows can be answered."""


class BatchModel(ChatAdapter):
    """A model on one server, with all its options."""

    # About two minutes of refused connections or busy answers, enough for a server to restart.
    max_retries: int = Field(default=20, ge=0)

    @property
    def llm(self) -> AsyncLLM:
        """The client of the server."""
        return self._async_llm

    @property
    def sampling(self) -> dict[str, Any]:
        """The fields of each request."""
        return self._chat_fields({})


class Servers:
    """One model on one or more servers, for one event loop.

    Args:
        models: The model, once for each server.
        concurrency: Requests sent at once to each server; the number of its slots if None.
    """

    def __init__(self, models: Sequence[BatchModel], concurrency: int | None) -> None:
        self._llms = [model.llm for model in models]
        self._concurrency = concurrency
        self._opening = asyncio.Lock()
        self._free: asyncio.Queue[AsyncLLM] | None = None

    async def complete(self, chat: StructuredChat) -> ChatReply:
        """Return the reply of a server with a free slot, waiting for one if all are busy.

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
                # The messages already show the schema, if they should.
                return await llm.complete_chat(chat.messages, show_schema=False, **chat.sampling)
            except openai.APITimeoutError:
                raise
            except SERVER_ERRORS:
                # This slot is free again once its server is back; other rows use other servers.
                await _wait_until_reachable(llm)
                if attempt == ATTEMPTS:
                    raise
            finally:
                free.put_nowait(llm)

    async def _slots(self) -> asyncio.Queue[AsyncLLM]:
        """Return a queue of free slots, in which each server appears once per slot."""
        async with self._opening:
            if self._free is None:
                free: asyncio.Queue[AsyncLLM] = asyncio.Queue()
                slots = await asyncio.gather(*map(self._slots_of, self._llms))
                # Interleaved, so that the first rows do not all go to the first server.
                for llm in chain.from_iterable(zip_longest(*slots)):
                    if llm is not None:
                        free.put_nowait(llm)
                self._free = free
        return self._free

    async def _slots_of(self, llm: AsyncLLM) -> list[AsyncLLM]:
        await _wait_until_reachable(llm)
        slots = self._concurrency or (await llm.features).slots
        return [llm] * (slots or DEFAULT_SLOTS)


async def _wait_until_reachable(llm: AsyncLLM) -> None:
    """Wait until a server answers; a managed one is started, or restarted if it has ended.

    Raises:
        ServerLost: It does not answer.
    """
    try:
        await llm.models()
    except (MlxcelError, openai.APIError) as error:
        # Ray cannot pickle every exception of openai.
        raise ServerLost(f"The job cannot go on without its server. {error}") from error
