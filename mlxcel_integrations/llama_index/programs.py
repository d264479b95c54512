"""What LlamaIndex's programs ask for, which call a tool only to get an object."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, TextBlock, ToolCallBlock

from ..structured.answer_stream import AnswerStream
from ..structured.schema import Schema
from ..structured.type_schema import to_schema
from .structured import read, said, to_delta

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

__all__ = ["as_call", "async_readable", "readable", "wanted_by_program"]

PROGRAM = "llama_index.core.program.function_program"
"""Where the functions of all programs' tools are defined."""


def wanted_by_program(
    tools: Sequence[BaseTool], allow_parallel_tool_calls: bool = False, **kwargs: Any
) -> Schema[Any] | None:
    """Return the schema of the object that one of LlamaIndex's programs asks for.

    A program's tool is known by its function. Only a program says in words that it leaves the
    choice of the tool open, so that an agent to which such a tool was given still gets calls.
    """
    left_open = "tool_choice" in kwargs and kwargs["tool_choice"] is None
    if len(tools) != 1 or allow_parallel_tool_calls or not left_open:
        return None
    if getattr(getattr(tools[0], "fn", None), "__module__", None) != PROGRAM:
        return None
    schema = to_schema(tools[0].metadata.fn_schema)
    return None if schema.wrapped else schema


def as_call(schema: Schema[Any], response: ChatResponse, name: str) -> ChatResponse:
    """Return an answer that is an object as the call of a program's tool.

    Raises:
        StructuredOutputError: It does not fit the schema.
    """
    read(schema, response)
    call = ToolCallBlock(
        tool_call_id=f"call_{uuid.uuid4().hex}",
        tool_name=name,
        tool_kwargs=json.loads(said(response)),
    )
    kept = [block for block in response.message.blocks if not isinstance(block, TextBlock)]
    return _with_blocks(response, [*kept, call])


def readable(
    schema: Schema[Any], responses: Generator[ChatResponse, None, None]
) -> Generator[ChatResponse, None, None]:
    """Yield responses whose text is whole JSON at any time, of what has come of an object.

    A program repairs no more than quotes and braces, and says nothing when an answer was cut.
    """
    answers = _values(schema)
    with contextlib.closing(responses):
        for response in responses:
            for value in filter(None, answers.feed(to_delta(response))):
                yield _with_text(response, json.dumps(value))
    answers.close()  # refuses what does not fit, and a stream of nothing
    yield _with_text(response, said(response))


async def async_readable(
    schema: Schema[Any], responses: AsyncGenerator[ChatResponse, None]
) -> AsyncGenerator[ChatResponse, None]:
    """Yield responses whose text is whole JSON at any time; see ``readable``."""
    answers = _values(schema)
    async with contextlib.aclosing(responses):
        async for response in responses:
            for value in filter(None, answers.feed(to_delta(response))):
                yield _with_text(response, json.dumps(value))
    answers.close()  # refuses what does not fit, and a stream of nothing
    yield _with_text(response, said(response))


def _values(schema: Schema[Any]) -> AnswerStream:
    """Return what reads an answer as plain values, which a program makes its objects of."""
    return AnswerStream(dataclasses.replace(schema, output_type=schema.json_schema), partial=True)


def _with_text(response: ChatResponse, text: str) -> ChatResponse:
    return _with_blocks(response, [TextBlock(text=text)])


def _with_blocks(response: ChatResponse, blocks: list[Any]) -> ChatResponse:
    """Return a response whose message says something else."""
    message = ChatMessage(role=response.message.role, blocks=blocks)
    return response.model_copy(update={"message": message})
