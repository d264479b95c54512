"""Structured output for LlamaIndex: objects from answers that the server constrains to a schema."""

from __future__ import annotations

import contextlib
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.instrumentation import (  # type: ignore[attr-defined]  # missing in __all__ there
    get_dispatcher,
)
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from ..protocol.answers.delta import Delta
from ..structured.answer_stream import AnswerStream
from ..structured.attempts import Attempts
from ..structured.request import constrained
from ..structured.schema import Schema
from ..structured.type_schema import to_schema
from ..transport.owned_generator import OwnedGenerator
from .base import ChatRequests
from .mlxcel_errors import llama_index_errors

if TYPE_CHECKING:
    from llama_index.core.prompts import BasePromptTemplate, PromptTemplate

__all__ = [
    "StructuredPredict",
    "answer_text",
    "constrained_chat",
    "finish_reason",
    "last_values",
    "read_object",
    "to_delta",
    "without_program_options",
]

F = TypeVar("F", bound=Callable[..., Any])
Model = TypeVar("Model", bound=BaseModel)

PROGRAM_OPTIONS = ("allow_parallel_tool_calls", "tool_choice", "tool_required")
"""Arguments meant for LlamaIndex's own programs, which call a tool to get an object."""

dispatcher = get_dispatcher(__name__)


def _span(method: F) -> F:
    """Add LlamaIndex's span to a method, without hiding its type from type checkers."""
    return cast("F", dispatcher.span(method))


class StructuredPredict(ChatRequests):
    """A model that answers with objects of Pydantic classes, constrained by its server."""

    @_span
    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return an object of a class.

        Args:
            output_cls: The class.
            prompt: The question, sent unchanged together with the schema.
            llm_kwargs: Sampling fields. ``bounded=False`` sends the schema without limits for
                texts, lists and numbers that have none; ``reasoning=True`` or an effort makes the
                model think before it answers. ``max_attempts`` is the largest number of attempts, 2
                unless given: after an answer that does not fit, or was cut, the model is told what
                was wrong.
            **prompt_args: Values for the variables of the prompt.

        Raises:
            StructuredOutputTruncated: The answer was cut before its JSON ended.
            StructuredOutputError: The answer does not fit the class.
        """
        if self._uses_program:
            prompt, llm_kwargs = _copied_arguments(prompt, llm_kwargs)
            predict = super().structured_predict
            predicted: Model = predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return predicted
        dispatcher.event(_start_event(output_cls, prompt, prompt_args))
        schema, chat, attempts = self._structured_chat(output_cls, prompt, llm_kwargs, prompt_args)
        while True:
            with attempts:
                result = read_object(schema, self.chat(**chat, **attempts.fields))
                dispatcher.event(LLMStructuredPredictEndEvent(output=result))
                return result

    @_span
    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return an object of a class; see ``structured_predict``."""
        if self._uses_program:
            prompt, llm_kwargs = _copied_arguments(prompt, llm_kwargs)
            predict = super().astructured_predict
            predicted: Model = await predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return predicted
        dispatcher.event(_start_event(output_cls, prompt, prompt_args))
        schema, chat, attempts = self._structured_chat(output_cls, prompt, llm_kwargs, prompt_args)
        while True:
            with attempts:
                result = read_object(schema, await self.achat(**chat, **attempts.fields))
                dispatcher.event(LLMStructuredPredictEndEvent(output=result))
                return result

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if self._uses_program:
            prompt, llm_kwargs = _copied_arguments(prompt, llm_kwargs)
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        return self._objects(*self._structured_chat(output_cls, prompt, llm_kwargs, prompt_args))

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if self._uses_program:
            prompt, llm_kwargs = _copied_arguments(prompt, llm_kwargs)
            return await super()._structured_astream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        return self._aobjects(*self._structured_chat(output_cls, prompt, llm_kwargs, prompt_args))

    @property
    def _uses_program(self) -> bool:
        """Whether the user has chosen one of LlamaIndex's programs to make objects."""
        return self.pydantic_program_mode != PydanticProgramMode.DEFAULT

    def _structured_chat(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> tuple[Schema[Model], dict[str, Any], Attempts]:
        """Return the schema of a class, arguments of ``chat`` for an object, and the attempts."""
        schema = to_schema(output_cls)
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        given = without_program_options(llm_kwargs or {})
        attempts = Attempts(given.pop("max_attempts", None))
        return schema, constrained_chat(schema, messages, self._chat_fields(given)), attempts

    def _objects(
        self, schema: Schema[Model], chat: dict[str, Any], attempts: Attempts
    ) -> Generator[Model, None, None]:
        while True:
            with attempts:
                answers = AnswerStream(schema, partial=True)
                made = self.stream_chat(**chat, **attempts.fields)
                with contextlib.closing(made) as responses:
                    for response in responses:
                        yield from _without_empty(answers.feed(to_delta(response)))
                yield from last_values(answers)
                return

    async def _aobjects(
        self, schema: Schema[Model], chat: dict[str, Any], attempts: Attempts
    ) -> AsyncGenerator[Model, None]:
        while True:
            with attempts:
                answers = AnswerStream(schema, partial=True)
                made = await self.astream_chat(**chat, **attempts.fields)
                async with OwnedGenerator(made) as responses:
                    async for response in responses:
                        for answer in _without_empty(answers.feed(to_delta(response))):
                            yield answer
                for answer in last_values(answers):
                    yield answer
                return


# --------------------------------------------------------------------------- requests


def constrained_chat(
    schema: Schema[Any], messages: Sequence[ChatMessage], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return arguments of ``chat`` for an answer that follows a schema.

    Args:
        schema: The schema, which is also shown to the model.
        messages: The conversation.
        fields: Other fields of the request.
    """
    return {"messages": messages, "show_schema": True, **constrained(schema, fields)}


def without_program_options(llm_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request, without arguments meant for LlamaIndex's programs."""
    return {name: value for name, value in llm_kwargs.items() if name not in PROGRAM_OPTIONS}


def _start_event(
    output_cls: Any, prompt: PromptTemplate, prompt_args: dict[str, Any]
) -> LLMStructuredPredictStartEvent:
    return LLMStructuredPredictStartEvent(
        output_cls=output_cls, template=prompt, template_args=prompt_args
    )


def _copied_arguments(
    prompt: PromptTemplate, llm_kwargs: Mapping[str, Any] | None
) -> tuple[PromptTemplate, dict[str, Any]]:
    """Return copies for LlamaIndex's programs, which change their arguments."""
    return prompt.model_copy(), dict(llm_kwargs or {})


# --------------------------------------------------------------------------- answers


def _without_empty(answers: Iterable[Model]) -> Iterator[Model]:
    """Yield the objects, without those whose fields have not arrived yet."""
    return (answer for answer in answers if answer.model_fields_set)


def to_delta(response: ChatResponse) -> Delta:
    """Return the piece of an answer that one response of a stream adds."""
    thought = response.additional_kwargs.get("thinking_delta")
    return Delta(response.delta or "", thought or "", finish_reason=finish_reason(response))


def finish_reason(response: ChatResponse) -> str | None:
    """Return why the server ended an answer; None until it has."""
    return response.raw.get("finish_reason") if isinstance(response.raw, Mapping) else None


def answer_text(response: ChatResponse) -> str:
    """Return the text of an answer."""
    return response.message.content or ""


def read_object(schema: Schema[Model], response: ChatResponse) -> Model:
    """Return the object in a whole answer.

    Raises:
        StructuredOutputError: The answer does not fit the schema.
    """
    with llama_index_errors:
        return schema.validate(answer_text(response), finish_reason(response))


def last_values(answers: AnswerStream) -> Sequence[Any]:
    """Close a stream of values, and return the last one.

    Raises:
        StructuredOutputError: The answer does not fit the schema.
    """
    with llama_index_errors:
        return answers.close()
