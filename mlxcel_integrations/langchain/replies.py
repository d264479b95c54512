"""Replies of a server as LangChain's chunks and results: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import (
    ToolCallChunk,
    invalid_tool_call,
    tool_call,
    tool_call_chunk,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import BaseModel

from ..protocol.answers.delta import Delta
from ..protocol.answers.reply import ChatReply, add_metadata
from ..protocol.validation import call_arguments, is_json
from .content_blocks import PROVIDER
from .prompt_progress import progress_chunk

__all__ = [
    "MessageChunks",
    "combined_outputs",
    "to_llm_output",
    "to_metadata",
    "to_result",
    "to_usage",
    "with_llm_output",
]

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class MessageChunks:
    """The chunks of a message, made from the deltas of its answer.

    LangChain adds up the metadata of chunks, so a finish reason or a time sent twice would be
    wrong. What is sent once per answer therefore waits for the last chunk.
    """

    _reply: ChatReply = field(default_factory=ChatReply)
    _call_parts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, delta: Delta) -> list[ChatGenerationChunk]:
        """Return the chunks that show a delta."""
        chunks = []
        if delta.prompt_progress is not None:
            chunks.append(progress_chunk(delta.prompt_progress))
        if delta.finish_reason or delta.usage or delta.timings:
            add_metadata(self._reply, delta)
        if delta.tool_calls:
            self._call_parts.extend(delta.tool_calls)
        if delta.reasoning or delta.tool_calls or delta.logprobs:
            chunks.append(_full_chunk(delta))
        elif delta.text:
            chunks.append(_text_chunk(delta.text))
        return chunks

    def finish(self, *, usage: bool) -> list[ChatGenerationChunk]:
        """Return the final chunk, after one for tool calls that were cut.

        Args:
            usage: Whether to include the token counts.
        """
        marks = _parts_that_invalidate_cut_calls(self._call_parts) if self._call_parts else []
        message = AIMessageChunk(
            content="",
            response_metadata=to_metadata(self._reply, usage=usage),
            usage_metadata=to_usage(self._reply.usage) if usage else None,
            chunk_position="last",
        )
        last = ChatGenerationChunk(message=message)
        return [_full_chunk(Delta(tool_calls=marks)), last] if marks else [last]


_MESSAGE_STATE = AIMessageChunk(content="").__dict__
_CHUNK_STATE = ChatGenerationChunk(message=AIMessageChunk(content="")).__dict__


def _text_chunk(text: str) -> ChatGenerationChunk:
    """Build a chunk of plain text without validation.

    The validating constructors take longer than all other work on a token. The state is set as
    unpickling sets it; a test compares the result with the constructors'.
    """
    message = AIMessageChunk.__new__(AIMessageChunk)
    message.__setstate__(
        {
            "__dict__": {
                **_MESSAGE_STATE,
                "content": text,
                "additional_kwargs": {},
                "response_metadata": {"model_provider": PROVIDER},
                "tool_calls": [],
                "invalid_tool_calls": [],
                "tool_call_chunks": [],
            },
            "__pydantic_fields_set__": {"content", "response_metadata"},
            "__pydantic_extra__": {},
            "__pydantic_private__": None,
        }
    )
    chunk = ChatGenerationChunk.__new__(ChatGenerationChunk)
    chunk.__setstate__(
        {
            "__dict__": {**_CHUNK_STATE, "text": text, "message": message},
            "__pydantic_fields_set__": {"text", "message"},
            "__pydantic_extra__": None,
            "__pydantic_private__": None,
        }
    )
    return chunk


def _full_chunk(delta: Delta) -> ChatGenerationChunk:
    metadata: dict[str, Any] = {"model_provider": PROVIDER}
    if delta.logprobs:
        metadata["logprobs"] = delta.logprobs
    message = AIMessageChunk(
        content=delta.text,
        additional_kwargs={"reasoning_content": delta.reasoning} if delta.reasoning else {},
        tool_call_chunks=[_call_chunk(part) for part in delta.tool_calls or ()],
        response_metadata=metadata,
    )
    return ChatGenerationChunk(message=message)


def _call_chunk(part: dict[str, Any]) -> ToolCallChunk:
    function = part.get("function") or {}
    return tool_call_chunk(
        name=function.get("name"),
        args=function.get("arguments"),
        id=part.get("id"),
        index=part.get("index"),
    )


def _parts_that_invalidate_cut_calls(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return parts that invalidate tool calls whose arguments were cut, as by ``max_tokens``.

    LangChain repairs the JSON of streamed arguments, and would run a tool with half of them, or
    with NaN. It takes very long for some that it cannot repair, such as ones that end in much white
    space.
    """
    arguments: dict[int, list[str]] = {}
    for part in parts:
        if part.get("index") is not None:
            text = (part.get("function") or {}).get("arguments") or ""
            arguments.setdefault(part["index"], []).append(text)
    return [
        {"index": index, "function": {"arguments": _unrepairable_end(text)}}
        for index, pieces in arguments.items()
        if not is_json(text := "".join(pieces) or "{}")
    ]


def _unrepairable_end(text: str) -> str:
    """Return an end that puts JSON beyond repair: closing brackets that nothing has opened.

    They stand inside and outside of quotation marks, since the JSON may be cut inside a string.
    """
    closing = "]" * (text.count("[") + 1)
    return f'"{closing}"{closing}'


def to_result(reply: ChatReply) -> ChatResult:
    """Return the result of a whole answer."""
    calls, invalid_calls = _calls(reply.tool_calls or ())
    metadata = to_metadata(reply)
    if reply.logprobs:
        metadata["logprobs"] = reply.logprobs
    message = _fast_copy(
        _EMPTY_MESSAGE,
        content=reply.text,
        additional_kwargs={"reasoning_content": reply.reasoning} if reply.reasoning else {},
        tool_calls=calls,
        invalid_tool_calls=invalid_calls,
        response_metadata=metadata,
        usage_metadata=to_usage(reply.usage),
    )
    generation = _fast_copy(_EMPTY_GENERATION, text=reply.text, message=message)
    # LangChain copies the output into the metadata of the message, so it must not hold more.
    return _fast_copy(_EMPTY_RESULT, generations=[generation], llm_output=to_llm_output(metadata))


_EMPTY_MESSAGE = AIMessage(content="")
_EMPTY_GENERATION = ChatGeneration(message=_EMPTY_MESSAGE)
_EMPTY_RESULT = ChatResult(generations=[_EMPTY_GENERATION])
"""An empty answer, whose fields every answer shares unless it sets them."""


def _fast_copy(template: M, **fields: Any) -> M:
    """Build a copy of an object with other values for some fields, without validation.

    See ``_text_chunk``, which is quicker still.
    """
    built = object.__new__(type(template))
    built.__setstate__(
        {
            "__dict__": {**vars(template), **fields},
            "__pydantic_fields_set__": set(fields),
            "__pydantic_extra__": None if template.model_extra is None else {},
            "__pydantic_private__": None,
        }
    )
    return built


def to_llm_output(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that LangChain's older callbacks read."""
    return {name: metadata[name] for name in ("model_name", "token_usage") if name in metadata}


def with_llm_output(result: ChatResult) -> ChatResult:
    """Return a result with its output, which LangChain leaves out if the answer was streamed."""
    message = result.generations[0].message
    # LangChain adds this cost to answers from a cache, whose tokens do not count.
    is_cached = "total_cost" in (getattr(message, "usage_metadata", None) or {})
    if result.llm_output is None and not is_cached:
        result.llm_output = to_llm_output(message.response_metadata)
    return result


def combined_outputs(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the output of several answers: the last output, with the sum of all token counts."""
    if len(outputs) < 2:
        return outputs[0] if outputs else {}
    usages = [output.get("token_usage") or {} for output in outputs]
    total = {name: sum(usage.get(name) or 0 for usage in usages) for name in _TOKEN_COUNTS}
    return {**outputs[-1], "token_usage": total}


_TOKEN_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def to_metadata(reply: ChatReply, *, usage: bool = True) -> dict[str, Any]:
    """Return the metadata of an answer.

    Args:
        reply: The answer.
        usage: Whether to include the token counts.
    """
    metadata: dict[str, Any] = {"model_provider": PROVIDER}
    if reply.model:
        metadata["model_name"] = reply.model
    if reply.finish_reason:
        metadata["finish_reason"] = reply.finish_reason
    if reply.id:
        metadata["id"] = reply.id
    if reply.usage and usage:
        metadata["token_usage"] = reply.usage
    if reply.timings:
        metadata["timings"] = reply.timings
    return metadata


def to_usage(usage: dict[str, Any] | None) -> UsageMetadata | None:
    """Return token counts as LangChain's, None if there are none."""
    # An answer that was left before its end has no count of its prompt.
    if not usage or "prompt_tokens" not in usage:
        return None
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    result = UsageMetadata(
        input_tokens=prompt,
        output_tokens=completion,
        total_tokens=usage.get("total_tokens") or prompt + completion,
    )
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is not None:
        result["input_token_details"] = {"cache_read": cached}
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if thought is not None:
        result["output_token_details"] = {"reasoning": thought}
    return result


def _calls(calls: Iterable[dict[str, Any]]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Separate calls whose arguments are a JSON object from invalid ones."""
    valid, invalid = [], []
    for call in calls:
        function = call["function"]
        arguments = call_arguments(function["arguments"])
        if arguments is not None:
            valid.append(tool_call(name=function["name"], args=arguments, id=call["id"]))
        else:
            invalid.append(
                invalid_tool_call(
                    name=function["name"],
                    args=function["arguments"],
                    id=call["id"],
                    error="The arguments are not a JSON object.",
                )
            )
    return valid, invalid
