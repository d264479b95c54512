"""Base of both models: batches limited to the server's slots, request fields, identity."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.language_models import LangSmithParams
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import (
    ensure_config,
    get_config_list,
    patch_config,
    var_child_runnable_config,
)
from langchain_core.runnables.utils import Input, Output

from ..adapters.clients import HasClients
from ..options.fields import LIFECYCLE_FIELDS
from ..protocol.discovery import DEFAULT_SLOTS
from ..transport.line import in_batch
from ..transport.owned_generator import OwnedGenerator
from .content_blocks import PROVIDER
from .threads import session_of_thread

__all__ = ["Batches", "Configs", "LangChainModel", "with_cached_signature"]

F = TypeVar("F", bound=Callable[..., Any])

NON_REQUEST_KEYWORDS = ("stream", "stream_usage", "streaming")
"""Keywords that LangChain passes on, but that are not fields of a request."""

Configs = RunnableConfig | Sequence[RunnableConfig] | None


def with_cached_signature(method: F) -> F:
    """Cache the signature of a method, which LangChain inspects in every call.

    Computing it each time takes 3 % of a small request.
    """
    vars(method)["__signature__"] = inspect.signature(method)
    return method


class Batches(HasClients, Runnable[Input, Output]):
    """A model that sends a request for each input of a batch, at most one per slot at a time.

    A request that waits in the server may time out, so none is sent before a slot is free;
    ``max_concurrency`` in the config overrides the number. When requests wait for slots here, those
    of batches let others go first.
    """

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
        configs = self._limited_configs(config, len(inputs))
        kwargs["return_exceptions"] = return_exceptions
        with in_batch():
            return Runnable.batch(self, inputs, configs, **kwargs)

    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Return the answers to all inputs, in their order."""
        configs = await self._alimited_configs(config, len(inputs))
        kwargs["return_exceptions"] = return_exceptions
        with in_batch():
            return await Runnable.abatch(self, inputs, configs, **kwargs)

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
        configs = self._limited_configs(config, len(inputs))
        with contextlib.closing(
            Runnable.batch_as_completed(self, inputs, configs, **kwargs)  # type: ignore[type-var]  # it is a generator
        ) as answers:
            while True:
                # Not around the yield: the program that reads the answers is outside the batch.
                with in_batch():
                    answer = next(answers, None)
                if answer is None:
                    return
                yield answer

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
        configs = await self._alimited_configs(config, len(inputs))
        answers = Runnable.abatch_as_completed(self, inputs, configs, **kwargs)
        while True:
            with in_batch():
                answer = await anext(answers, None)
            if answer is None:
                return
            yield answer

    def _limited_configs(self, config: Configs, count: int) -> list[RunnableConfig]:
        """Return a config for each input, all with the same limit of concurrency."""
        configs = get_config_list(config, count)
        if _is_limited(configs):
            return configs
        slots = None
        # If the server cannot be asked, each request fails on its own, with the reason.
        with contextlib.suppress(Exception):
            slots = self._llm.features.slots
        return _with_limit(configs, slots)

    async def _alimited_configs(self, config: Configs, count: int) -> list[RunnableConfig]:
        configs = get_config_list(config, count)
        if _is_limited(configs):
            return configs
        slots = None
        with contextlib.suppress(Exception):
            slots = (await self._async_llm.features).slots
        return _with_limit(configs, slots)


def _is_limited(configs: Sequence[RunnableConfig]) -> bool:
    """Return whether the configs set a limit, or none is needed; LangChain reads only the first."""
    return len(configs) < 2 or bool(configs[0].get("max_concurrency"))


def _with_limit(configs: list[RunnableConfig], slots: int | None) -> list[RunnableConfig]:
    return [patch_config(config, max_concurrency=slots or DEFAULT_SLOTS) for config in configs]


class LangChainModel(Batches[Input, Output]):
    """A model with sampling fields, an identity for caches and traces, and a secret key."""

    if TYPE_CHECKING:
        # Attributes of the adapter, which follows among the bases.
        model: str | None
        served_model: str | None
        stop: list[str] | None
        session: str | None
        _default_sampling: dict[str, Any]

        def _server_options(self) -> dict[str, Any]: ...

    if not TYPE_CHECKING:
        # LangChain passes on only a part of the config, without the thread. Type checkers see its
        # own methods, whose types are more precise. The streams are generator functions, as in
        # LangChain, which recognizes them when it makes a runnable of a method.

        def invoke(
            self,
            input: Any,  # noqa: A002  LangChain's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Any,
        ) -> Any:
            """Return the answer to one input."""
            kwargs = self._with_thread_session(kwargs, config)
            return super().invoke(input, config, stop=stop, **kwargs)

        async def ainvoke(
            self,
            input: Any,  # noqa: A002  LangChain's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Any,
        ) -> Any:
            """Return the answer to one input."""
            kwargs = self._with_thread_session(kwargs, config)
            return await super().ainvoke(input, config, stop=stop, **kwargs)

        def stream(
            self,
            input: Any,  # noqa: A002  LangChain's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Any,
        ) -> Iterator[Any]:
            """Yield the pieces of an answer, as they come."""
            kwargs = self._with_thread_session(kwargs, config)
            yield from super().stream(input, config, stop=stop, **kwargs)

        async def astream(
            self,
            input: Any,  # noqa: A002  LangChain's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Any,
        ) -> AsyncIterator[Any]:
            """Yield the pieces of an answer, as they come."""
            kwargs = self._with_thread_session(kwargs, config)
            answer = super().astream(input, config, stop=stop, **kwargs)
            async with OwnedGenerator(answer) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _with_thread_session(
        self, call: dict[str, Any], config: RunnableConfig | None
    ) -> dict[str, Any]:
        """Return the keywords of a call, with the thread of a config as the session.

        A session of the call, or of the model, comes first.
        """
        has_session = self.session is not None or "session" in call
        if has_session or not (config and config.get("configurable")):
            return call
        thread = session_of_thread(ensure_config(config))
        return call if thread is None else {**call, "session": thread}

    def _call_fields(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a request that a call sets."""
        fields = {name: value for name, value in call.items() if name not in NON_REQUEST_KEYWORDS}
        if stop is not None:
            fields["stop"] = stop
        return self._with_thread_session(fields, var_child_runnable_config.get())

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Parameters that decide an answer, for cache keys and traces; timeouts do not."""
        derived = self._derived
        if "identity" not in derived:
            derived["identity"] = self._identity()
        return derived["identity"]

    def _identity(self) -> dict[str, Any]:
        server = self._server_options()
        return {
            "model": self.model,
            "address": repr(self._connection),
            "served_model": self.served_model,
            **{name: value for name, value in server.items() if name not in LIFECYCLE_FIELDS},
            **self._default_sampling,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params: LangSmithParams = super()._get_ls_params(  # type: ignore[misc]  # LangChain's
            stop=stop or self.stop, **kwargs
        )
        params["ls_provider"] = PROVIDER
        if not params.get("ls_model_name"):
            params["ls_model_name"] = self._connection.model_to_send or repr(self._connection)
        return params

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The key, which ``dumpd`` writes as a reference to the environment."""
        return {"api_key": "MLXCEL_API_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True, since ``dumpd`` and ``load`` work."""
        return True
