"""Batches that ask for no more at once than the server has slots."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list, patch_config
from langchain_core.runnables.utils import Input, Output

if TYPE_CHECKING:
    from ..async_client import AsyncLLM
    from ..client import LLM

__all__ = ["DEFAULT_SLOTS", "Batches"]

DEFAULT_SLOTS = 4
"""How many requests are sent at once to a server that does not tell how many it works on."""

Configs = RunnableConfig | Sequence[RunnableConfig] | None


class Batches(Runnable[Input, Output]):
    """A model that is asked once for each input of a batch.

    A request that waits for a slot may run into its timeout, so it is not sent before there is
    one; ``max_concurrency`` in the config says otherwise.
    """

    if TYPE_CHECKING:
        _llm: LLM
        _async_llm: AsyncLLM

    # Runnable's own methods do the work: with those of LangChain's text models, one prompt that
    # fails would fail all, and max_concurrency would make each group wait for its slowest.

    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Return the answers to all inputs, in their order."""
        configs = self._bounded(config, len(inputs))
        return Runnable.batch(self, inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Return the answers to all inputs, in their order."""
        configs = await self._abounded(config, len(inputs))
        return await Runnable.abatch(
            self, inputs, configs, return_exceptions=return_exceptions, **kwargs
        )

    def batch_as_completed(
        self,
        inputs: Sequence[Input],
        config: Configs = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Yield the index and the answer of each input, as they are ready."""
        kwargs["return_exceptions"] = return_exceptions
        configs = self._bounded(config, len(inputs))
        yield from Runnable.batch_as_completed(self, inputs, configs, **kwargs)

    async def abatch_as_completed(
        self,
        inputs: Sequence[Input],
        config: Configs = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """Yield the index and the answer of each input, as they are ready."""
        kwargs["return_exceptions"] = return_exceptions
        configs = await self._abounded(config, len(inputs))
        async for answer in Runnable.abatch_as_completed(self, inputs, configs, **kwargs):
            yield answer

    def _bounded(self, config: Configs, count: int) -> list[RunnableConfig]:
        """Return the config of each input, with a bound for all."""
        configs = get_config_list(config, count)
        if _need_no_bound(configs):
            return configs
        slots = None
        # What keeps the server from telling is an error of each request, in its place.
        with contextlib.suppress(Exception):
            slots = self._llm.features.slots
        return _bound(configs, slots)

    async def _abounded(self, config: Configs, count: int) -> list[RunnableConfig]:
        configs = get_config_list(config, count)
        if _need_no_bound(configs):
            return configs
        slots = None
        with contextlib.suppress(Exception):
            slots = (await self._async_llm.features).slots
        return _bound(configs, slots)


def _need_no_bound(configs: Sequence[RunnableConfig]) -> bool:
    """Tell whether there is a bound, or only one request; LangChain heeds the first config."""
    return len(configs) < 2 or bool(configs[0].get("max_concurrency"))


def _bound(configs: list[RunnableConfig], slots: int | None) -> list[RunnableConfig]:
    return [patch_config(config, max_concurrency=slots or DEFAULT_SLOTS) for config in configs]
