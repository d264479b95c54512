"""Tools for ``Mlxcel``: calls that are asked for, and those that have come."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from pydantic import PydanticUserError

from ..errors import MlxcelError, StructuredOutputError, StructuredOutputTruncated
from ..protocol.tools import check_choice, check_tools
from ..structured.partial_json import IncrementalJSON
from ..structured.schema import Schema
from .programs import as_call, async_readable, readable, wanted_by_program
from .structured import finish_reason, said

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM as Base
    from llama_index.core.tools.types import BaseTool
else:
    Base = object

__all__ = ["Calling", "to_openai_tools"]


class Calling(Base):
    """A model that calls tools.

    A call that must come is made sure of by the server's constraint. So is the answer to one of
    LlamaIndex's programs, which call a tool only to get an object: it is asked for as such, and
    does without the tools of a chat template.

    No Pydantic class of its own: building one more takes its time at each import.
    """

    if TYPE_CHECKING:

        def _call_for(
            self,
            schema: Schema[Any],
            messages: Sequence[ChatMessage],
            llm_kwargs: Mapping[str, Any] | None,
        ) -> dict[str, Any]: ...

    def stream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Generator[ChatResponse, None, None]:
        """Yield an answer that may call tools as it is generated.

        Args:
            tools: The tools.
            *args: As for ``chat_with_tools``.
            **kwargs: As for ``chat_with_tools``.
        """
        responses = super().stream_chat_with_tools(tools, *args, **kwargs)
        schema = wanted_by_program(tools, **kwargs)
        if schema is not None:
            return readable(schema, responses)
        return responses if kwargs.get("allow_parallel_tool_calls") else _single(responses)

    async def astream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        """Return a generator of an answer that may call tools; see ``stream_chat_with_tools``."""
        responses = await super().astream_chat_with_tools(tools, *args, **kwargs)
        schema = wanted_by_program(tools, **kwargs)
        if schema is not None:
            return async_readable(schema, responses)
        return responses if kwargs.get("allow_parallel_tool_calls") else _async_single(responses)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or ())
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        if user_msg is not None:
            messages.append(user_msg)
        schema = wanted_by_program(tools, allow_parallel_tool_calls, **kwargs)
        if schema is not None:
            return self._call_for(schema, messages, kwargs)
        wire = to_openai_tools(tools)
        choice = kwargs.pop("tool_choice", None) or ("required" if tool_required else None)
        choice = check_choice(choice, [tool["function"]["name"] for tool in wire])
        if not wire:
            return {"messages": messages, **kwargs}
        more = {"tool_choice": choice} if choice is not None else {}
        parallel = {"parallel_tool_calls": allow_parallel_tool_calls}
        return {"messages": messages, "tools": wire, **more, **parallel, **kwargs}

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        schema = wanted_by_program(tools, allow_parallel_tool_calls, **kwargs)
        if schema is not None:
            return as_call(schema, response, tools[0].metadata.get_name())
        return response if allow_parallel_tool_calls else _with_one_call(response)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the calls of tools in an answer, or in what has come of it.

        Args:
            response: The answer, or a chunk of a stream: arguments are then what has come of them.
            error_on_no_tool_call: Whether it is an error if there is none.
            **kwargs: Nothing that matters here.

        Raises:
            StructuredOutputTruncated: The answer was cut before a call was complete.
            StructuredOutputError: There is no call, or one whose arguments are no JSON object.
        """
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if error_on_no_tool_call and not calls:
            raise _no_call(response)
        ended = finish_reason(response)
        return [
            ToolSelection(
                tool_id=call.tool_call_id or "",
                tool_name=call.tool_name,
                tool_kwargs=_arguments(call, ended),
            )
            for call in calls
        ]


# --------------------------------------------------------------------------- tools


def to_openai_tools(tools: Sequence[BaseTool]) -> list[dict[str, Any]]:
    """Return OpenAI tools.

    Raises:
        MlxcelError: One cannot be expressed, or they are too many.
    """
    converted = [_to_wire(index, tool) for index, tool in enumerate(tools)]
    check_tools(converted)
    return converted


def _to_wire(index: int, tool: BaseTool) -> dict[str, Any]:
    try:
        return tool.metadata.to_openai_tool(skip_length_check=True)
    except (PydanticUserError, ValueError, TypeError, KeyError, AttributeError) as error:
        name = getattr(getattr(tool, "metadata", None), "name", None) or type(tool).__name__
        reason = str(error).partition("\n")[0].rstrip(".")
        raise MlxcelError(
            f"tools[{index}], {name!r}, cannot be expressed as a tool: {reason}. Pass a tool such "
            "as FunctionTool.from_defaults(function), whose arguments have types that JSON can "
            "say."
        ) from error


# --------------------------------------------------------------------------- calls


def _single(responses: Generator[ChatResponse, None, None]) -> Generator[ChatResponse, None, None]:
    with contextlib.closing(responses):
        for response in responses:
            yield _with_one_call(response)


async def _async_single(
    responses: AsyncGenerator[ChatResponse, None],
) -> AsyncGenerator[ChatResponse, None]:
    async with contextlib.aclosing(responses):
        async for response in responses:
            yield _with_one_call(response)


def _with_one_call(response: ChatResponse) -> ChatResponse:
    """Return a response without the calls after the first: mlxcel does not keep them back."""
    message = response.message
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if len(calls) < 2:
        return response
    kept = [block for block in message.blocks if not isinstance(block, ToolCallBlock)]
    more = dict(message.additional_kwargs)
    if "tool_calls" in more:
        more["tool_calls"] = more["tool_calls"][:1]
    message = ChatMessage(role=message.role, blocks=[*kept, calls[0]], additional_kwargs=more)
    return response.model_copy(update={"message": message})


def _arguments(call: ToolCallBlock, ended: str | None) -> dict[str, Any]:
    """Return the arguments of a call, or what has come of them.

    Raises:
        StructuredOutputError: No more will come, and they are no JSON object. A tool must not be
            run with half of its arguments.
    """
    if isinstance(call.tool_kwargs, dict):
        return call.tool_kwargs
    text = call.tool_kwargs or "{}"
    known, complete = _read_object(text)
    if complete or ended is None:
        return known
    if ended == "length":
        raise StructuredOutputTruncated(
            f"The answer was cut within the call of the tool {call.tool_name!r} (finish_reason "
            "'length'). Its arguments are in .raw, what can be read of them in .partial; raise "
            "max_tokens.",
            raw=text,
            finish_reason=ended,
            partial=known,
        )
    raise StructuredOutputError(
        f"The arguments in the call of the tool {call.tool_name!r} are no JSON object: "
        f"{_shortened(text)}. They are in .raw; ask again, or use a model made for tools.",
        raw=text,
        finish_reason=ended,
    )


def _no_call(response: ChatResponse) -> StructuredOutputError:
    text, ended = said(response), finish_reason(response)
    if ended == "length":
        return StructuredOutputTruncated(
            "The answer was cut before a tool call was complete (finish_reason 'length'). Its text "
            "is in .raw, and its readable part in .partial; raise max_tokens.",
            raw=text,
            finish_reason=ended,
            partial=_read_object(text)[0] or None,
        )
    return StructuredOutputError(
        f"The model called no tool, but answered: {_shortened(text)}. Pass tool_required=True to "
        "make sure of a call, or error_on_no_tool_call=False if none need come.",
        raw=text,
        finish_reason=ended,
    )


def _read_object(text: str) -> tuple[dict[str, Any], bool]:
    """Return what can be read of a JSON object, and whether that is all of it."""
    parser = IncrementalJSON()
    try:
        parser.feed(text)
    except (ValueError, RecursionError):
        return {}, False
    return (parser.value, parser.done) if isinstance(parser.value, dict) else ({}, False)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
