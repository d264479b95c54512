"""Structured output for ``Mlxcel``: answers that the server makes keep to a schema."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    TextBlock,
)
from llama_index.core.instrumentation import (  # type: ignore[attr-defined] # not declared there
    get_dispatcher,
)
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from ..protocol.stream import Delta
from ..structured.answer_stream import AnswerStream
from ..structured.request import constrained, schema_text
from ..structured.schema import Schema
from ..structured.type_schema import to_schema

if TYPE_CHECKING:
    from llama_index.core.llms.llm import LLM as Base
    from llama_index.core.prompts import PromptTemplate
else:
    Base = object

__all__ = ["Predicting", "finish_reason", "said", "to_delta"]

Model = TypeVar("Model", bound=BaseModel)

OF_PROGRAMS = ("allow_parallel_tool_calls", "tool_choice", "tool_required")
"""What callers pass on to LlamaIndex's own programs, which call a tool to get an object."""

dispatcher = get_dispatcher(__name__)


class Predicting(Base):
    """A model that makes objects of Pydantic classes, by its server's constraint.

    No Pydantic class of its own: building one more takes its time at each import.
    """

    if TYPE_CHECKING:

        def _chat_sampling(self, call: dict[str, Any]) -> dict[str, Any]: ...

    @dispatcher.span
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
            prompt: What to ask; it stays as it is, and the model is shown the schema besides.
            llm_kwargs: Sampling fields.
            **prompt_args: What the prompt is filled with.

        Raises:
            StructuredOutputTruncated: The answer was cut before its JSON ended.
            StructuredOutputError: The answer does not fit the class.
        """
        if self._leaves_it_to_a_program:
            prompt, llm_kwargs = _copies(prompt, llm_kwargs)
            make = super().structured_predict
            made: Model = make(output_cls, prompt, llm_kwargs, **prompt_args)
            return made
        dispatcher.event(_start(output_cls, prompt, prompt_args))
        schema, call = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        result = read(schema, self.chat(**call))
        dispatcher.event(LLMStructuredPredictEndEvent(output=result))
        return result

    @dispatcher.span
    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return an object of a class; see ``structured_predict``."""
        if self._leaves_it_to_a_program:
            prompt, llm_kwargs = _copies(prompt, llm_kwargs)
            make = super().astructured_predict
            made: Model = await make(output_cls, prompt, llm_kwargs, **prompt_args)
            return made
        dispatcher.event(_start(output_cls, prompt, prompt_args))
        schema, call = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        result = read(schema, await self.achat(**call))
        dispatcher.event(LLMStructuredPredictEndEvent(output=result))
        return result

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if self._leaves_it_to_a_program:
            prompt, llm_kwargs = _copies(prompt, llm_kwargs)
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        schema, call = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        return self._objects(schema, call)

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if self._leaves_it_to_a_program:
            prompt, llm_kwargs = _copies(prompt, llm_kwargs)
            return await super()._structured_astream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        schema, call = self._question(output_cls, prompt, llm_kwargs, prompt_args)
        return self._aobjects(schema, call)

    @property
    def _leaves_it_to_a_program(self) -> bool:
        """Whether a way to get objects was chosen that is not the model's own."""
        return self.pydantic_program_mode != PydanticProgramMode.DEFAULT

    def _question(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> tuple[Schema[Model], dict[str, Any]]:
        schema = to_schema(output_cls)
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        return schema, self._call_for(schema, messages, llm_kwargs)

    def _call_for(
        self,
        schema: Schema[Any],
        messages: Sequence[ChatMessage],
        llm_kwargs: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """Return arguments of ``chat`` for an answer that keeps to a schema."""
        given = {
            name: value for name, value in (llm_kwargs or {}).items() if name not in OF_PROGRAMS
        }
        fields = constrained(schema, self._chat_sampling(given))
        return {"messages": _with_schema_shown(schema, messages), **fields}

    def _objects(self, schema: Schema[Model], call: dict[str, Any]) -> Generator[Model, None, None]:
        answers = AnswerStream(schema, partial=True)
        with contextlib.closing(self.stream_chat(**call)) as responses:
            for response in responses:
                yield from _known(answers.feed(to_delta(response)))
        yield from answers.close()

    async def _aobjects(
        self, schema: Schema[Model], call: dict[str, Any]
    ) -> AsyncGenerator[Model, None]:
        answers = AnswerStream(schema, partial=True)
        async with contextlib.aclosing(await self.astream_chat(**call)) as responses:
            async for response in responses:
                for answer in _known(answers.feed(to_delta(response))):
                    yield answer
        for answer in answers.close():
            yield answer


def _start(
    output_cls: Any, prompt: PromptTemplate, prompt_args: dict[str, Any]
) -> LLMStructuredPredictStartEvent:
    return LLMStructuredPredictStartEvent(
        output_cls=output_cls, template=prompt, template_args=prompt_args
    )


def _copies(
    prompt: PromptTemplate, llm_kwargs: Mapping[str, Any] | None
) -> tuple[PromptTemplate, dict[str, Any]]:
    """Return copies for LlamaIndex's programs, which leave their marks on what they are given."""
    return prompt.model_copy(), dict(llm_kwargs or {})


def _with_schema_shown(schema: Schema[Any], messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return messages with the schema at the end of the system message."""
    text = schema_text(schema.json_schema)
    if not messages or messages[0].role not in (MessageRole.SYSTEM, MessageRole.DEVELOPER):
        return [ChatMessage(role=MessageRole.SYSTEM, content=text), *messages]
    blocks = [*messages[0].blocks, TextBlock(text=text)]
    return [messages[0].model_copy(update={"blocks": blocks}), *messages[1:]]


def _known(answers: Iterable[Model]) -> Iterator[Model]:
    """Yield the objects of which at least one field has come."""
    return (answer for answer in answers if answer.model_fields_set)


def to_delta(response: ChatResponse) -> Delta:
    """Return what one response of a stream adds to its answer."""
    thought = response.additional_kwargs.get("thinking_delta")
    return Delta(response.delta or "", thought or "", finish_reason=finish_reason(response))


def finish_reason(response: ChatResponse) -> str | None:
    """Return why the server ended an answer, None as long as it has not."""
    return response.raw.get("finish_reason") if isinstance(response.raw, Mapping) else None


def said(response: ChatResponse) -> str:
    """Return the text of an answer."""
    return response.message.content or ""


def read(schema: Schema[Model], response: ChatResponse) -> Model:
    """Return what a whole answer says.

    Raises:
        StructuredOutputError: It does not fit the schema.
    """
    return schema.validate(said(response), finish_reason(response))
