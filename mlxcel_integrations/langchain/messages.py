"""LangChain's messages to the wire, and what comes back to LangChain's chunks: pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import (
    ToolCallChunk,
    invalid_tool_call,
    tool_call,
    tool_call_chunk,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from ..errors import MlxcelServerError
from ..protocol.stream import ChatReply, Delta

__all__ = ["PROVIDER", "Tail", "counted_apart", "to_chunk", "to_result", "to_wire"]

PROVIDER = "mlxcel"

_ROLES: dict[type, str] = {HumanMessage: "user", SystemMessage: "system", AIMessage: "assistant"}


def to_wire(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return OpenAI messages."""
    return [_plain(message) or _converted(message) for message in messages]


def _plain(message: BaseMessage) -> dict[str, Any] | None:
    """Translate the messages that most conversations consist of, at a tenth of the usual cost."""
    role = _ROLES.get(type(message))
    if role is None or not isinstance(message.content, str):
        return None
    if message.name or message.additional_kwargs or getattr(message, "tool_calls", None):
        return None
    return {"role": role, "content": message.content}


def _converted(message: BaseMessage) -> dict[str, Any]:
    (converted,) = convert_to_openai_messages([message])
    return dict(converted)


def counted_apart(
    messages: Sequence[dict[str, Any]], sampling: dict[str, Any], error: Exception
) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Return conversations of one user message each, which have at least as many tokens together.

    Args:
        messages: OpenAI messages that a template may not take together.
        sampling: Fields of the request; the tools come with the first message alone.
        error: Why they could not be counted together.

    Raises:
        MlxcelServerError: The error is one of the server, and has nothing to do with them.
    """
    if isinstance(error, MlxcelServerError):
        raise error
    without = {name: value for name, value in sampling.items() if name != "tools"}
    return [
        ([_as_user_message(message)], without if index else sampling)
        for index, message in enumerate(messages)
    ]


def _as_user_message(message: dict[str, Any]) -> dict[str, Any]:
    calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
    content = message.get("content") or ""
    if isinstance(content, list):
        return {"role": "user", "content": [*content, {"type": "text", "text": calls or "."}]}
    # No server takes an empty one.
    return {"role": "user", "content": f"{content}{calls}".strip() or "."}


def to_chunk(delta: Delta) -> ChatGenerationChunk:
    """Return what one delta adds to a message."""
    if delta.reasoning or delta.tool_calls or delta.logprobs:
        return _full_chunk(delta)
    return _text_chunk(delta.text)


_MESSAGE_STATE = AIMessageChunk(content="").__dict__
_CHUNK_STATE = ChatGenerationChunk(message=AIMessageChunk(content="")).__dict__


def _text_chunk(text: str) -> ChatGenerationChunk:
    """Build a chunk of plain text without validating what is known to be valid.

    The validating constructors take longer than everything else that happens to a token. The
    state is set as unpickling does it; a test compares the result with the constructors'.
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


class Tail:
    """Collect what is told once for a whole answer, for its last chunk.

    LangChain adds up what several chunks tell, so that a finish reason or a time that came twice
    would be wrong.
    """

    def __init__(self) -> None:
        self._reply = ChatReply()

    def take(self, delta: Delta) -> bool:
        """Note what belongs to the end, and tell whether there is something to show now."""
        if delta.finish_reason:
            self._reply.finish_reason = delta.finish_reason
            self._reply.model, self._reply.id = delta.model, delta.id
        self._reply.usage = delta.usage or self._reply.usage
        self._reply.timings = delta.timings or self._reply.timings
        return bool(delta.text or delta.reasoning or delta.tool_calls or delta.logprobs)

    def chunk(self, *, usage: bool) -> ChatGenerationChunk:
        """Return the last chunk.

        Args:
            usage: Whether to tell the token counts.
        """
        message = AIMessageChunk(
            content="",
            response_metadata=_metadata(self._reply),
            usage_metadata=_usage(self._reply.usage) if usage else None,
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)


def to_result(reply: ChatReply) -> ChatResult:
    """Return the result of a whole answer."""
    calls, invalid_calls = _calls(reply.tool_calls or ())
    metadata = _metadata(reply)
    if reply.logprobs:
        metadata["logprobs"] = reply.logprobs
    message = AIMessage(
        content=reply.text,
        additional_kwargs={"reasoning_content": reply.reasoning} if reply.reasoning else {},
        tool_calls=calls,
        invalid_tool_calls=invalid_calls,
        response_metadata=metadata,
        usage_metadata=_usage(reply.usage),
    )
    # Core would copy an llm_output into the metadata of the message, which streams do not have.
    return ChatResult(generations=[ChatGeneration(message=message)])


def _metadata(reply: ChatReply) -> dict[str, Any]:
    metadata: dict[str, Any] = {"model_provider": PROVIDER}
    if reply.model:
        metadata["model_name"] = reply.model
    if reply.finish_reason:
        metadata["finish_reason"] = reply.finish_reason
    if reply.id:
        metadata["id"] = reply.id
    if reply.timings:
        metadata["timings"] = reply.timings
    return metadata


def _usage(usage: dict[str, Any] | None) -> UsageMetadata | None:
    if not usage:
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
    """Tell calls whose arguments are JSON objects from those that are not."""
    valid, invalid = [], []
    for call in calls:
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"] or "{}")
        except ValueError:
            arguments = None
        if isinstance(arguments, dict):
            valid.append(tool_call(name=function["name"], args=arguments, id=call["id"]))
        else:
            invalid.append(
                invalid_tool_call(
                    name=function["name"],
                    args=function["arguments"],
                    id=call["id"],
                    error="The arguments are no JSON object.",
                )
            )
    return valid, invalid
