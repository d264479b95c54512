"""Tools for LlamaIndex: requests with tools, and the calls in answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from pydantic import PydanticUserError

from ..errors import MlxcelError, StructuredOutputError
from ..protocol.tools.request_fields import check_choice, check_tools
from ..structured.attempts import Attempts
from ..structured.partial_json import IncrementalJSON
from ..transport.owned_generator import OwnedGenerator
from .base import ChatRequests
from .mlxcel_errors import (
    LlamaIndexStructuredOutputError,
    LlamaIndexStructuredOutputTruncated,
)
from .programs import aread_stream, as_tool_call, program_schema, read_stream
from .structured import answer_text, constrained_chat, finish_reason, without_program_options

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

__all__ = ["ToolCalling", "to_openai_tools"]


class ToolCalling(ChatRequests):
    """A model that calls tools.

    The server's constraint forces the calls that are required. It also serves LlamaIndex's
    programs, which call a tool only to get an object: they get a structured answer, for which the
    chat template need not know tools.
    """

    def chat_with_tools(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> ChatResponse:
        """Return an answer that may call tools.

        Args:
            tools: The tools.
            *args: The message, the history and more, as in LlamaIndex.
            **kwargs: The same by their names, and fields of the request.
        """
        attempts = Attempts(kwargs.pop("max_attempts", None))
        while True:
            with attempts:
                return super().chat_with_tools(tools, *args, **{**kwargs, **attempts.fields})

    async def achat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponse:
        """Return an answer that may call tools; see ``chat_with_tools``."""
        attempts = Attempts(kwargs.pop("max_attempts", None))
        while True:
            with attempts:
                return await super().achat_with_tools(tools, *args, **{**kwargs, **attempts.fields})

    def stream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Generator[ChatResponse, None, None]:
        """Yield an answer that may call tools, as it is generated.

        Args:
            tools: The tools.
            *args: As for ``chat_with_tools``.
            **kwargs: As for ``chat_with_tools``.
        """
        attempts = Attempts(kwargs.pop("max_attempts", None))
        stream = partial(super().stream_chat_with_tools, tools, *args, **kwargs)
        schema = program_schema(tools, **kwargs)
        if schema is not None:
            return read_stream(schema, stream, attempts)
        responses = stream()
        return (
            responses if kwargs.get("allow_parallel_tool_calls") else _with_one_call_each(responses)
        )

    async def astream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        """Return a generator of an answer that may call tools; see ``stream_chat_with_tools``."""
        attempts = Attempts(kwargs.pop("max_attempts", None))
        stream = partial(super().astream_chat_with_tools, tools, *args, **kwargs)
        schema = program_schema(tools, **kwargs)
        if schema is not None:
            return aread_stream(schema, stream, attempts)
        responses = await stream()
        return (
            responses
            if kwargs.get("allow_parallel_tool_calls")
            else _awith_one_call_each(responses)
        )

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
        schema = program_schema(tools, allow_parallel_tool_calls, **kwargs)
        if schema is not None:
            fields = self._chat_fields(without_program_options(kwargs))
            return constrained_chat(schema, messages, fields)
        converted = to_openai_tools(tools)
        required = "required" if tool_required and converted else None
        choice = kwargs.pop("tool_choice", None) or required
        choice = check_choice(choice, [tool["function"]["name"] for tool in converted])
        if not converted:
            return {"messages": messages, **kwargs}
        fields = {"tools": converted, "parallel_tool_calls": allow_parallel_tool_calls}
        if choice is not None:
            fields["tool_choice"] = choice
        return {"messages": messages, **fields, **kwargs}

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        schema = program_schema(tools, allow_parallel_tool_calls, **kwargs)
        if schema is not None:
            return as_tool_call(schema, response, tools[0].metadata.get_name())
        return response if allow_parallel_tool_calls else _with_one_call(response)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls in an answer, or in a chunk of one.

        A call whose arguments are not a JSON object is an error, too. Without
        ``error_on_no_tool_call``, as in agents, it becomes a call of a tool that does not exist,
        whose name says what is wrong: no tool runs, and the model may try again.

        Args:
            response: The answer; or a chunk of a stream, with the arguments so far.
            error_on_no_tool_call: Whether an answer without a proper call is an error.
            **kwargs: Ignored.

        Raises:
            StructuredOutputTruncated: The answer was cut before a call was complete.
            StructuredOutputError: There is no call, or one whose arguments are not a JSON object.
        """
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if error_on_no_tool_call and not calls:
            raise _no_call_error(response)
        ended = finish_reason(response)
        return [_to_selection(call, ended, error_on_no_tool_call) for call in calls]


# --------------------------------------------------------------------------- tools


def to_openai_tools(tools: Sequence[BaseTool]) -> list[dict[str, Any]]:
    """Return OpenAI tools.

    Raises:
        MlxcelError: A tool has no JSON schema, or there are too many.
    """
    converted = [_to_openai_tool(index, tool) for index, tool in enumerate(tools)]
    check_tools(converted)
    return converted


def _to_openai_tool(index: int, tool: BaseTool) -> dict[str, Any]:
    try:
        return tool.metadata.to_openai_tool(skip_length_check=True)
    except (PydanticUserError, ValueError, TypeError, KeyError, AttributeError) as error:
        name = getattr(getattr(tool, "metadata", None), "name", None) or type(tool).__name__
        reason = str(error).partition("\n")[0].rstrip(".")
        raise MlxcelError(
            f"tools[{index}], {name!r}, cannot be expressed as a tool: {reason}. Pass a tool such "
            "as FunctionTool.from_defaults(function), whose argument types have a JSON schema."
        ) from error


# --------------------------------------------------------------------------- calls


def _with_one_call_each(
    responses: Generator[ChatResponse, None, None],
) -> Generator[ChatResponse, None, None]:
    with contextlib.closing(responses):
        for response in responses:
            yield _with_one_call(response)


async def _awith_one_call_each(
    responses: AsyncGenerator[ChatResponse, None],
) -> AsyncGenerator[ChatResponse, None]:
    async with OwnedGenerator(responses) as owned:
        async for response in owned:
            yield _with_one_call(response)


def _with_one_call(response: ChatResponse) -> ChatResponse:
    """Return a response with its first call only, since mlxcel may send more than one."""
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


def _to_selection(call: ToolCallBlock, ended: str | None, strict: bool) -> ToolSelection:
    """Return a call as LlamaIndex runs it.

    Args:
        call: The call.
        ended: The finish reason of its answer, None while it goes on.
        strict: Whether malformed arguments are an error.

    Raises:
        StructuredOutputTruncated: The call was cut.
        StructuredOutputError: Its arguments are not a JSON object.
    """
    name, arguments = call.tool_name, _call_arguments(call, ended)
    if arguments is None:
        text = _shortened(str(call.tool_kwargs))
        if strict:
            raise LlamaIndexStructuredOutputError(
                f"The arguments in the call of {_tool_phrase(name)} are not a JSON object: {text}. "
                "They are in .raw; ask again, or use a model trained for tools.",
                raw=str(call.tool_kwargs),
                finish_reason=ended,
            )
        # A tool must not run with half of its arguments; agents answer that there is no such tool.
        name = name or "unknown tool"
        name, arguments = f"{name} with arguments that are not a JSON object ({text})", {}
    return ToolSelection(tool_id=call.tool_call_id or "", tool_name=name, tool_kwargs=arguments)


def _call_arguments(call: ToolCallBlock, ended: str | None) -> dict[str, Any] | None:
    """Return the arguments of a call as far as they have come, None if they are malformed.

    Raises:
        StructuredOutputTruncated: The call was cut.
    """
    if isinstance(call.tool_kwargs, dict):
        return call.tool_kwargs
    text = call.tool_kwargs or "{}"
    known, complete = _read_object(text)
    if complete or ended is None:
        return known
    if ended == "length":
        raise LlamaIndexStructuredOutputTruncated(
            f"The answer was cut within the call of {_tool_phrase(call.tool_name)} (finish_reason "
            "'length'). Its arguments are in .raw, and their readable part in .partial; raise "
            "max_tokens.",
            raw=text,
            finish_reason=ended,
            partial=known,
        )
    return None


def _tool_phrase(name: str) -> str:
    """Return how to speak of a tool, whose name may have been cut off."""
    return f"the tool {name!r}" if name else "a tool"


def _no_call_error(response: ChatResponse) -> StructuredOutputError:
    text, ended = answer_text(response), finish_reason(response)
    cut = ended == "length"
    if cut and (not text.strip() or text.lstrip().startswith("{")):
        return LlamaIndexStructuredOutputTruncated(
            "The answer was cut before a tool call was complete (finish_reason 'length'). Its text "
            "is in .raw, and its readable part in .partial; raise max_tokens.",
            raw=text,
            finish_reason=ended,
            partial=_read_object(text)[0] or None,
        )
    cut_note = ", which was cut (finish_reason 'length')" if cut else ""
    return LlamaIndexStructuredOutputError(
        f"The model called no tool, but answered: {_shortened(text)}{cut_note}. Pass "
        "tool_required=True to force a call, or error_on_no_tool_call=False if an answer without "
        "one is fine.",
        raw=text,
        finish_reason=ended,
    )


def _read_object(text: str) -> tuple[dict[str, Any], bool]:
    """Return the readable part of a JSON object, and whether it is complete."""
    parser = IncrementalJSON()
    try:
        parser.feed(text)
    except (ValueError, RecursionError):
        return {}, False
    return (parser.value, parser.done) if isinstance(parser.value, dict) else ({}, False)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
