"""Structured output of ``ChatMlxcel``: answers that keep to a schema, as LangChain reads them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Literal, get_args

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.runnables.config import ensure_config, get_callback_manager_for_config
from langchain_core.utils.function_calling import convert_to_json_schema

from ..errors import MlxcelError, StructuredOutputError
from ..structured.request import is_free, is_whole_format, to_response_format
from ..structured.schema import Schema
from ..transport.owned_generator import OwnedGenerator
from .answer_parser import AnswerParser
from .base import Batches, Configs

__all__ = [
    "Method",
    "StructuredModel",
    "check_arguments",
    "traced_format",
    "with_format_converted",
]

Method = Literal["json_schema", "json_mode", "function_calling"]


def check_arguments(method: str, *, tools: bool, include_raw: bool) -> None:
    """Check arguments of ``with_structured_output`` that type checkers may not have seen.

    Raises:
        MlxcelError: The method is unknown, or the calls of tools would be lost.
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


def with_format_converted(fields: Mapping[str, Any], *, checked: bool) -> dict[str, Any]:
    """Return fields of a request whose ``response_format`` may be anything with a schema.

    ``relaxable`` marks converted fields, since LangChain can bind nothing but fields.

    Args:
        fields: The fields.
        checked: Whether the answer will be checked by the schema, so that the server need not know
            all of it.

    Raises:
        MlxcelError: No schema can be made from it, or no server accepts it.
    """
    given = fields.get("response_format")
    if is_free(given):
        return {name: value for name, value in fields.items() if name != "show_schema"}
    if "relaxable" in fields and is_whole_format(given):
        return dict(fields)
    wanted = {"response_format": to_response_format(given), "relaxable": checked}
    return {"show_schema": True, **fields, **wanted}


class StructuredModel(Batches[LanguageModelInput, Any], RunnableSequence[LanguageModelInput, Any]):
    """A model whose answers are objects of a type, or JSON.

    For LangChain it is a sequence of the model and a parser, each of which makes a run. If nothing
    observes the runs, they are left out, since they take several times as long as reading an
    answer.

    Args:
        model: The model, bound to the schema.
        parser: The parser of its answers.
    """

    first: RunnableBinding[LanguageModelInput, AIMessage]
    last: AnswerParser

    def __init__(self, model: Runnable[LanguageModelInput, AIMessage], parser: AnswerParser):
        RunnableSequence.__init__(self, model, parser, name="RunnableSequence")

    def _bounded(self, config: Configs, count: int) -> list[RunnableConfig]:
        model: Any = self.first.bound
        configs: list[RunnableConfig] = model._bounded(config, count)
        return configs

    async def _abounded(self, config: Configs, count: int) -> list[RunnableConfig]:
        model: Any = self.first.bound
        configs: list[RunnableConfig] = await model._abounded(config, count)
        return configs

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name, as below
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object that the model answers."""
        inner = _unobserved(config)
        with _asking_again(config) as unfit:
            if inner is None:
                return RunnableSequence.invoke(self, input, config, **kwargs)
            return self.last.read(self.first.invoke(input, inner, **kwargs))
        return unfit[0]

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object that the model answers."""
        inner = _unobserved(config)
        with _asking_again(config) as unfit:
            if inner is None:
                return await RunnableSequence.ainvoke(self, input, config, **kwargs)
            return self.last.read(await self.first.ainvoke(input, inner, **kwargs))
        return unfit[0]

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the object that the model answers, as it grows."""
        inner = _unobserved(config)
        if inner is None:
            return RunnableSequence.stream(self, input, config, **kwargs)
        return self.last.read_chunks(self.first.stream(input, inner, **kwargs))

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield the object that the model answers, as it grows."""
        inner = _unobserved(config)
        objects: Any
        if inner is None:
            objects = RunnableSequence.astream(self, input, config, **kwargs)
        else:
            objects = self.last.aread_chunks(self.first.astream(input, inner, **kwargs))
        async with OwnedGenerator(objects) as values:
            async for value in values:
                yield value

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell that ``dumpd`` cannot write a schema."""
        return False


def _unobserved(config: RunnableConfig | None) -> RunnableConfig | None:
    """Return the config of the model alone, None if anything observes the runs of the call."""
    config = ensure_config(config)
    if get_callback_manager_for_config(config).handlers:
        return None
    # These belong to the sequence.
    config.pop("run_name", None)
    config.pop("run_id", None)
    return config


@contextlib.contextmanager
def _asking_again(config: RunnableConfig | None) -> Iterator[list[Any]]:
    """Keep an answer that does not fit, for a caller that looks for these and asks again.

    LangChain's ``LLMToolSelectorMiddleware`` catches no errors, but counts such answers.
    """
    unfit: list[Any] = []
    try:
        yield unfit
    except StructuredOutputError as error:
        if ((config or {}).get("metadata") or {}).get("lc_source") != "tool_selection":
            raise
        unfit.append(error.raw)
