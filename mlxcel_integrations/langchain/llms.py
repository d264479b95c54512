"""``MlxcelLLM``: text completion for LangChain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import BaseMessage, get_buffer_string
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import model_validator

from .. import __version__
from ..adapters.generation import GenerationAdapter
from ..protocol.answers.delta import Delta
from ..protocol.answers.reply import ChatReply, add_metadata, fold
from ..protocol.discovery import DEFAULT_SLOTS
from ..transport.owned_generator import OwnedGenerator
from .base import LangChainModel, with_cached_signature
from .error_translation import langchain_errors
from .replies import combined_outputs, to_llm_output, to_metadata
from .token_counting import TextCounting

__all__ = ["MlxcelLLM"]


class MlxcelLLM(
    TextCounting,
    LangChainModel[LanguageModelInput, str],
    GenerationAdapter,
    BaseLLM,
    defer_build=False,
):
    """A model on this machine, or on a server, that continues a text.

    No chat template is applied: it is for base models and complete prompts. Server options and
    sampling fields are those of ``ChatMlxcel``.

    Several prompts are sent concurrently, as many as the server has slots.

    Examples:
        >>> from mlxcel_integrations.langchain import MlxcelLLM
        >>> with MlxcelLLM(model="embedded", max_tokens=4, temperature=0) as llm:
        ...     text = llm.invoke("Paris is the capital of France, and Rome is the capital of")
        >>> "Italy" in text
        True
    """

    _llm_type: ClassVar[str] = "mlxcel"

    @model_validator(mode="after")
    def _set_mlxcel_version(self) -> Self:
        self._add_version("mlxcel-integrations", __version__)
        return self

    @with_cached_signature
    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        sampling = self._sampling(stop, kwargs)

        def complete(prompt: str) -> ChatReply:
            return fold(self._llm._complete(prompt, sampling))

        with langchain_errors:
            if len(prompts) == 1:
                return _to_result([complete(prompts[0])])
            with ThreadPoolExecutor(self._llm.features.slots or DEFAULT_SLOTS) as pool:
                return _to_result(list(pool.map(complete, prompts)))

    @with_cached_signature
    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        sampling = self._sampling(stop, kwargs)

        async def complete(prompt: str, slots_left: asyncio.Semaphore) -> ChatReply:
            async with slots_left:
                deltas = self._async_llm._complete(prompt, sampling)
                return fold([delta async for delta in deltas])

        with langchain_errors:
            slots = (await self._async_llm.features).slots if len(prompts) > 1 else 1
            slots_left = asyncio.Semaphore(slots or DEFAULT_SLOTS)
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(complete(prompt, slots_left)) for prompt in prompts]
            except BaseExceptionGroup as errors:
                # The first failure has cancelled the others; its error is the one to raise.
                raise errors.exceptions[0] from None
            return _to_result([task.result() for task in tasks])

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        chunks = _TextChunks()
        with langchain_errors:
            sampling = self._sampling(stop, kwargs)
            for delta in self._llm._complete(prompt, sampling):
                if (chunk := chunks.add(delta)) is None:
                    continue
                if run_manager is not None:
                    # LangChain itself makes these callbacks only for chat models.
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        yield chunks.last(run_manager)

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        chunks = _TextChunks()
        with langchain_errors:
            sampling = self._sampling(stop, kwargs)
            async with OwnedGenerator(self._async_llm._complete(prompt, sampling)) as deltas:
                async for delta in deltas:
                    if (chunk := chunks.add(delta)) is None:
                        continue
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
        yield chunks.last(run_manager)

    def _sampling(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a request, in which a call overrides the constructor."""
        return {**self._default_sampling, **self._call_fields(stop, call)}

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens in the prompt made from messages.

        The prompt is the text that is sent for them, after the tokens that the server puts first.

        Args:
            messages: The messages; an empty list has no tokens.
            tools: Not used: text models call no tools.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        with langchain_errors:
            text = get_buffer_string(messages)
            return len(self._llm.tokenize(text, add_special=True)) if messages else 0

    async def aget_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens in the prompt made from messages.

        See ``get_num_tokens_from_messages``.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        with langchain_errors:
            text = get_buffer_string(messages)
            return len(await self._async_llm.tokenize(text, add_special=True)) if messages else 0


def _to_result(replies: Sequence[ChatReply]) -> LLMResult:
    infos = [to_metadata(reply) for reply in replies]
    generations = [
        [Generation(text=reply.text, generation_info=_with_logprobs(info, reply.logprobs))]
        for reply, info in zip(replies, infos, strict=True)
    ]
    return LLMResult(
        generations=generations, llm_output=combined_outputs(list(map(to_llm_output, infos)))
    )


class _TextChunks:
    """The chunks of a completion, made from the deltas of its answer."""

    def __init__(self) -> None:
        self._reply = ChatReply()

    def add(self, delta: Delta) -> GenerationChunk | None:
        """Return the chunk for a delta, or None if it brings nothing to show."""
        add_metadata(self._reply, delta)
        if not (delta.text or delta.logprobs):
            return None
        return GenerationChunk(text=delta.text, generation_info=_with_logprobs({}, delta.logprobs))

    def last(
        self, run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None
    ) -> GenerationChunk:
        """Return the last chunk, with the metadata, and report the token counts to the run."""
        metadata = to_metadata(self._reply)
        if run is not None:
            _report_usage_at_end(run, to_llm_output(metadata))
        return GenerationChunk(text="", generation_info=metadata)


def _report_usage_at_end(run: Any, output: dict[str, Any]) -> None:
    """Report the token counts at the end of a streamed run, where LangChain omits them.

    Args:
        run: The manager of the run.
        output: The output with the token counts.
    """
    end = run.on_llm_end

    def on_llm_end(response: LLMResult, **kwargs: Any) -> Any:
        response.llm_output = output
        return end(response, **kwargs)

    run.on_llm_end = on_llm_end


def _with_logprobs(info: dict[str, Any], logprobs: dict[str, Any] | None) -> dict[str, Any]:
    return {**info, "logprobs": logprobs} if logprobs else info
