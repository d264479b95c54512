"""Predictions for prompts with an output parser: answers constrained to what it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.instrumentation import (  # type: ignore[attr-defined]  # missing in __all__ there
    get_dispatcher,
)
from llama_index.core.instrumentation.events.llm import LLMPredictEndEvent, LLMPredictStartEvent

from ..structured.schema import Schema
from .structured import StructuredPredict, answer_text, read_object

if TYPE_CHECKING:
    from llama_index.core.prompts import BasePromptTemplate

__all__ = ["Predict"]

dispatcher = get_dispatcher(__name__)


class Predict(StructuredPredict):
    """A model whose answers LlamaIndex's own JSON parsers can always read."""

    @dispatcher.span
    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Return the answer to a prompt.

        If one of LlamaIndex's output parsers reads it as JSON, such as the one of
        ``LLMSingleSelector``, the server constrains the answer to what that reads.

        Args:
            prompt: The prompt.
            **prompt_args: Values for its variables.

        Raises:
            StructuredOutputError: The answer is not what the parser reads.
        """
        answer_type = self._answer_type(prompt, prompt_args)
        if answer_type is None:
            text: str = super().predict(prompt, **prompt_args)
            return text
        self._send_start_event(prompt, prompt_args)
        schema, chat, attempts = self._structured_chat(answer_type, prompt, None, prompt_args)
        while True:
            with attempts:
                return _checked_text(schema, self.chat(**chat, **attempts.fields))

    @dispatcher.span
    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Return the answer to a prompt; see ``predict``."""
        answer_type = self._answer_type(prompt, prompt_args)
        if answer_type is None:
            text: str = await super().apredict(prompt, **prompt_args)
            return text
        self._send_start_event(prompt, prompt_args)
        schema, chat, attempts = self._structured_chat(answer_type, prompt, None, prompt_args)
        while True:
            with attempts:
                return _checked_text(schema, await self.achat(**chat, **attempts.fields))

    def _answer_type(self, prompt: BasePromptTemplate, prompt_args: Mapping[str, Any]) -> Any:
        """Return the type of the answer, None if it may be any text."""
        if prompt.output_parser is None or self.output_parser or self._uses_program:
            return None
        return _parser_schema(prompt.output_parser, prompt_args)

    def _send_start_event(self, prompt: BasePromptTemplate, prompt_args: dict[str, Any]) -> None:
        dispatcher.event(LLMPredictStartEvent(template=prompt, template_args=prompt_args))
        self._log_template_data(prompt, **prompt_args)


def _parser_schema(parser: Any, prompt_args: Mapping[str, Any]) -> Any:
    """Return what an output parser reads, as a type or a JSON schema; None if unknown."""
    # Imported here, since few prompts have a parser. A subclass may read anything.
    from llama_index.core.output_parsers import PydanticOutputParser
    from llama_index.core.output_parsers.selection import SelectionOutputParser
    from llama_index.core.question_gen.output_parser import SubQuestionOutputParser
    from llama_index.core.question_gen.types import SubQuestionList

    if type(parser) is PydanticOutputParser:
        return parser.output_cls
    if type(parser) is SubQuestionOutputParser:
        return SubQuestionList
    if type(parser) is SelectionOutputParser:
        return _selections(prompt_args.get("num_choices"), prompt_args.get("max_outputs", 1))
    return None


def _selections(choices: int | None, max_outputs: int) -> dict[str, Any]:
    """Return the schema of selections, whose choices are numbered from 1."""
    choice = {"type": "integer", "minimum": 1} | ({"maximum": choices} if choices else {})
    selection = {
        "type": "object",
        "properties": {"choice": choice, "reason": {"type": "string"}},
        "required": ["choice", "reason"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": selection, "minItems": 1, "maxItems": max_outputs}


def _checked_text(schema: Schema[Any], response: ChatResponse) -> str:
    """Return the text of an answer for its parser.

    Raises:
        StructuredOutputError: The answer does not fit the schema.
    """
    read_object(schema, response)
    text = json.dumps(schema.unwrapped(json.loads(answer_text(response))), ensure_ascii=False)
    dispatcher.event(LLMPredictEndEvent(output=text))
    return text
