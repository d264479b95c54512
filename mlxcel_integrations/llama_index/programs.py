"""Answers to LlamaIndex's programs, which call a tool only to get an object."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, TextBlock, ToolCallBlock

from ..protocol.tools.tool_calls import new_id
from ..structured.answer_stream import AnswerStream
from ..structured.attempts import Attempts
from ..structured.schema import Schema
from ..structured.type_schema import to_schema
from ..transport.owned_generator import OwnedGenerator
from .structured import answer_text, last_values, read_object, to_delta

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

__all__ = ["aread_stream", "as_tool_call", "program_schema", "read_stream"]

PROGRAM_MODULE = "llama_index.core.program.function_program"
"""The module that defines the functions of all programs' tools."""


def program_schema(
    tools: Sequence[BaseTool], allow_parallel_tool_calls: bool = False, **kwargs: Any
) -> Schema[Any] | None:
    """Return the schema of a program's object, or None if the request is not a program's.

    A program's tool is recognized by its function. Only a program passes ``tool_choice=None``
    explicitly, so an agent that was given such a tool still gets calls.
    """
    open_choice = "tool_choice" in kwargs and kwargs["tool_choice"] is None
    if len(tools) != 1 or allow_parallel_tool_calls or not open_choice:
        return None
    if getattr(getattr(tools[0], "fn", None), "__module__", None) != PROGRAM_MODULE:
        return None
    schema = to_schema(tools[0].metadata.fn_schema)
    return None if schema.wrapped else schema


def as_tool_call(schema: Schema[Any], response: ChatResponse, name: str) -> ChatResponse:
    """Return an answer with an object as a call of a program's tool.

    Raises:
        StructuredOutputError: The answer does not fit the schema.
    """
    read_object(schema, response)
    call = ToolCallBlock(
        tool_call_id=new_id(),
        tool_name=name,
        tool_kwargs=json.loads(answer_text(response)),
    )
    kept = [block for block in response.message.blocks if not isinstance(block, TextBlock)]
    return _with_blocks(response, [*kept, call])


def read_stream(
    schema: Schema[Any],
    stream: Callable[..., Generator[ChatResponse, None, None]],
    attempts: Attempts,
) -> Generator[ChatResponse, None, None]:
    """Yield responses that a program can read: each holds complete JSON of the object so far.

    A program itself repairs only quotes and braces, and does not notice that an answer was cut.

    Args:
        schema: Schema of the object.
        stream: Starts the stream of one attempt, given its fields.
        attempts: The attempts.
    """
    while True:
        with attempts:
            answers = _plain_value_stream(schema)
            with contextlib.closing(stream(**attempts.fields)) as responses:
                for response in responses:
                    for value in filter(None, answers.feed(to_delta(response))):
                        yield _with_text(response, json.dumps(value))
            last_values(answers)  # raises if the answer does not fit, or is empty
            yield _with_text(response, answer_text(response))
            return


async def aread_stream(
    schema: Schema[Any],
    stream: Callable[..., Awaitable[AsyncGenerator[ChatResponse, None]]],
    attempts: Attempts,
) -> AsyncGenerator[ChatResponse, None]:
    """Yield responses that a program can read; see ``read_stream``."""
    while True:
        with attempts:
            answers = _plain_value_stream(schema)
            async with OwnedGenerator(await stream(**attempts.fields)) as responses:
                async for response in responses:
                    for value in filter(None, answers.feed(to_delta(response))):
                        yield _with_text(response, json.dumps(value))
            last_values(answers)  # raises if the answer does not fit, or is empty
            yield _with_text(response, answer_text(response))
            return


def _plain_value_stream(schema: Schema[Any]) -> AnswerStream:
    """Return a reader of plain values, from which the program makes its objects itself."""
    return AnswerStream(dataclasses.replace(schema, output_type=schema.json_schema), partial=True)


def _with_text(response: ChatResponse, text: str) -> ChatResponse:
    return _with_blocks(response, [TextBlock(text=text)])


def _with_blocks(response: ChatResponse, blocks: list[Any]) -> ChatResponse:
    """Return a response with other content in its message."""
    message = ChatMessage(role=response.message.role, blocks=blocks)
    return response.model_copy(update={"message": message})
