"""Structured output of ``ChatMlxcel``: answers that keep to a schema, as LangChain reads them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import (
    ConfigurableFieldSpec,
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableSequence,
)
from langchain_core.runnables.config import (
    ensure_config,
    get_callback_manager_for_config,
    patch_config,
)
from langchain_core.utils.function_calling import convert_to_json_schema

from ..errors import MlxcelError, StructuredOutputError
from ..protocol.validation import NOT_JSON, from_json
from ..structured.attempts import Attempts
from ..structured.schema import Schema
from ..transport.owned_generator import OwnedGenerator
from .answer_parser import AnswerParser
from .attempts import MessageAttempts
from .base import Batches, Configs

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph

__all__ = ["Method", "StructuredModel", "check_arguments", "traced_format"]

Method = Literal["json_schema", "json_mode", "function_calling"]


def check_arguments(method: str, *, tools: bool, include_raw: bool) -> None:
    """Check arguments of ``with_structured_output`` that type checkers may not have seen.

    Raises:
        MlxcelError: The method is unknown, or tool calls would be lost.
    """
    if method not in get_args(Method):
        known = ", ".join(get_args(Method))
        raise MlxcelError(f"method={method!r} is unknown: leave it out, or pass one of {known}.")
    if tools and not include_raw:
        raise MlxcelError(
            "With tools, the answer may be a tool call, which only the message holds: "
            "pass include_raw=True."
        )


def traced_format(
    output_type: Any, schema: Schema[Any], method: str, strict: bool | None
) -> dict[str, Any]:
    """Return the output format in the form in which LangChain's callbacks expect it."""
    arguments = {"method": method, "strict": strict}
    return {"kwargs": arguments, "schema": _traced_schema(output_type, schema)}


def _traced_schema(output_type: Any, schema: Schema[Any]) -> dict[str, Any]:
    ours = {"title": schema.name, **schema.json_schema}
    if not isinstance(output_type, type | dict):
        return ours  # before 1.7.2 langchain-core takes a Literal for a function
    try:
        return convert_to_json_schema(output_type)
    except Exception:  # noqa: BLE001 - LangChain converts few types, and has many ways to refuse
        return ours


class StructuredModel(Batches[LanguageModelInput, Any]):
    """A model whose answers are objects of a type, or JSON.

    It runs as a sequence of the model and a parser; each attempt makes a run of both. If nothing
    observes the runs, they are left out, since they take several times as long as reading an
    answer.

    Args:
        model: The model, bound to the schema.
        parser: The parser of its answers.
        max_attempts: How often to ask for an answer.
    """

    def __init__(
        self,
        model: RunnableBinding[LanguageModelInput, AIMessage],
        parser: AnswerParser,
        max_attempts: int,
    ) -> None:
        Attempts(max_attempts)  # checks it
        self.name = "RunnableSequence"
        self.first = model
        self.last = parser
        self.max_attempts = max_attempts

    def _limited_configs(self, config: Configs, count: int) -> list[RunnableConfig]:
        model: Any = self.first.bound
        configs: list[RunnableConfig] = model._limited_configs(config, count)
        return configs

    async def _alimited_configs(self, config: Configs, count: int) -> list[RunnableConfig]:
        model: Any = self.first.bound
        configs: list[RunnableConfig] = await model._alimited_configs(config, count)
        return configs

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name, as below
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object that the model answers."""
        with _leaving_retries_to_caller(config) as unfit:
            if (inner := _config_if_unobserved(config)) is not None:
                return self._answer(input, (inner, UNOBSERVED), kwargs)
            return self._call_with_config(self._observed_answer, input, config, **kwargs)
        return unfit[0]

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object that the model answers."""
        with _leaving_retries_to_caller(config) as unfit:
            if (inner := _config_if_unobserved(config)) is not None:
                return await self._aanswer(input, (inner, UNOBSERVED), kwargs)
            return await self._acall_with_config(self._observed_aanswer, input, config, **kwargs)
        return unfit[0]

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the object that the model answers, as it grows.

        With another attempt, it starts over.
        """
        if (inner := _config_if_unobserved(config)) is not None:
            yield from self._answers(input, (inner, UNOBSERVED), kwargs)
            return
        with contextlib.ExitStack() as stack:

            def answers(_: Any, run_manager: CallbackManagerForChainRun) -> Iterator[Any]:
                configs = _step_configs(config, run_manager)
                made = contextlib.closing(self._answers(input, configs, kwargs))
                return stack.enter_context(made)

            yield from self._transform_stream_with_config(iter([input]), answers, config)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield the object that the model answers, as it grows; see ``stream``."""
        objects: Any
        if (inner := _config_if_unobserved(config)) is not None:
            objects = self._aanswers(input, (inner, UNOBSERVED), kwargs)
        else:

            def answers(_: Any, run_manager: AsyncCallbackManagerForChainRun) -> AsyncIterator[Any]:
                return OwnedGenerator(
                    self._aanswers(input, _step_configs(config, run_manager), kwargs)
                )

            objects = self._atransform_stream_with_config(_single(input), answers, config)
        async with OwnedGenerator(objects) as values:
            async for value in values:
                yield value

    # ----------------------------------------------------------------------- attempts

    def _observed_answer(
        self,
        question: LanguageModelInput,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        return self._answer(question, _step_configs(config, run_manager), kwargs)

    async def _observed_aanswer(
        self,
        question: LanguageModelInput,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        return await self._aanswer(question, _step_configs(config, run_manager), kwargs)

    def _answer(
        self, question: LanguageModelInput, configs: StepConfigs, kwargs: dict[str, Any]
    ) -> Any:
        attempts = self._attempts(configs)
        while True:
            with attempts:
                message = self.first.invoke(question, configs[0], **kwargs, **attempts.fields)
                answer = self.last.invoke(attempts.with_total_usage(message), configs[1])
                attempts.check(answer)
                return answer

    async def _aanswer(
        self, question: LanguageModelInput, configs: StepConfigs, kwargs: dict[str, Any]
    ) -> Any:
        attempts = self._attempts(configs)
        while True:
            with attempts:
                fields = {**kwargs, **attempts.fields}
                message = await self.first.ainvoke(question, configs[0], **fields)
                answer = await self.last.ainvoke(attempts.with_total_usage(message), configs[1])
                attempts.check(answer)
                return answer

    def _answers(
        self, question: LanguageModelInput, configs: StepConfigs, kwargs: dict[str, Any]
    ) -> Generator[Any, None, None]:
        attempts = self._attempts(configs)
        while True:
            with attempts:
                chunks = self.first.stream(question, configs[0], **kwargs, **attempts.fields)
                for answer in self.last.transform(
                    map(attempts.with_total_usage, chunks), configs[1]
                ):
                    if not attempts.refuses(answer):
                        yield attempts.with_attempt(answer)
                # Only now, so that the run of the parser has ended.
                attempts.check(answer)
                return

    async def _aanswers(
        self, question: LanguageModelInput, configs: StepConfigs, kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        attempts = self._attempts(configs)
        while True:
            with attempts:
                chunks = self._achunks(question, configs[0], {**kwargs, **attempts.fields})
                parts: Any = self.last.atransform(attempts.awith_total_usage(chunks), configs[1])
                async with OwnedGenerator(parts) as answers:
                    async for answer in answers:
                        if not attempts.refuses(answer):
                            yield attempts.with_attempt(answer)
                attempts.check(answer)
                return

    def _achunks(
        self, question: LanguageModelInput, config: RunnableConfig, fields: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Return the model's own chunks, since a binding does not close the stream it passes on."""
        binding: Any = self.first
        config = binding._merge_configs(config)
        chunks: AsyncIterator[Any]
        chunks = binding.bound.astream(question, config, **{**binding.kwargs, **fields})
        return chunks

    def _attempts(self, configs: StepConfigs) -> MessageAttempts:
        return MessageAttempts(1 if _caller_retries(configs[0]) else self.max_attempts)

    # ----------------------------------------------------------------------- as a sequence

    @property
    def steps(self) -> list[Runnable[Any, Any]]:
        """The model and the parser."""
        return [self.first, self.last]

    @property
    def InputType(self) -> Any:
        """The type of questions."""
        return self.first.InputType

    @property
    def OutputType(self) -> Any:
        """The type of the objects, ``Any`` for JSON."""
        return self.last.OutputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        """Return the type of questions as a Pydantic model."""
        return self.first.get_input_schema(config)

    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        """Return the type of the results as a Pydantic model."""
        return self.last.get_output_schema(config)

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return the graph of the model and the parser."""
        return RunnableSequence(self.first, self.last).get_graph(config)

    def __repr__(self) -> str:
        return repr(RunnableSequence(self.first, self.last))

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The fields of the model that a config can set."""
        return self.first.config_specs


def _config_if_unobserved(config: RunnableConfig | None) -> RunnableConfig | None:
    """Return the config of the model alone, None if anything observes the runs of the call."""
    config = ensure_config(config)
    if get_callback_manager_for_config(config).handlers:
        return None
    # These belong to the sequence.
    config.pop("run_name", None)
    config.pop("run_id", None)
    return config


StepConfigs = tuple[RunnableConfig, RunnableConfig]
"""The configs of the model and of the parser."""

UNOBSERVED: RunnableConfig = {"callbacks": CallbackManager([])}
"""Config of a parser whose run is reported to no callbacks."""


def _step_configs(config: RunnableConfig | None, run_manager: Any) -> StepConfigs:
    model, parser = (
        patch_config(config, callbacks=run_manager.get_child(f"seq:step:{number}"))
        for number in (1, 2)
    )
    return model, parser


async def _single(value: Any) -> AsyncIterator[Any]:
    yield value


def _caller_retries(config: RunnableConfig | None) -> bool:
    """Return whether the caller looks for answers that do not fit, and asks again.

    LangChain's ``LLMToolSelectorMiddleware`` catches no errors, but counts such answers.
    """
    return ((config or {}).get("metadata") or {}).get("lc_source") == "tool_selection"


@contextlib.contextmanager
def _leaving_retries_to_caller(config: RunnableConfig | None) -> Iterator[list[Any]]:
    """Keep an answer that does not fit, for a caller that asks again itself."""
    unfit: list[Any] = []
    try:
        yield unfit
    except StructuredOutputError as error:
        if not _caller_retries(config):
            raise
        value = from_json(error.raw)
        unfit.append(error.raw if value is NOT_JSON else value)
