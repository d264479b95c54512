"""LlamaIndex's messages as OpenAI messages, whichever provider wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import BaseModel

from ..errors import MlxcelError
from ..protocol.documents import titled
from ..protocol.messages import plain_content
from ..protocol.tools.tool_calls import tool_call
from ..protocol.validation import JsonObject
from .media import Media, document_text, media_part

__all__ = ["to_openai_messages"]


SENT_BLOCKS = (TextBlock, Media, DocumentBlock, CitableBlock, CitationBlock)
"""Blocks that become text or media."""

UNTITLED = "input_document"
"""The title that LlamaIndex gives to documents without one."""

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}


def to_openai_messages(
    messages: Sequence[ChatMessage], *, reasoning: bool = True, urls: bool = False
) -> list[JsonObject]:
    """Return OpenAI messages.

    Args:
        messages: A conversation, which another provider may have begun.
        reasoning: Whether to send the model's earlier thinking, too.
        urls: Whether to send URLs of images, audio and video as they are.

    Raises:
        MlxcelError: A message holds something that no server accepts.
    """
    if isinstance(messages, ChatMessage):
        raise MlxcelError("messages= is a single message: put it into a list.")
    return [_message(index, message, reasoning, urls) for index, message in enumerate(messages)]


def _message(index: int, message: ChatMessage, reasoning: bool, urls: bool) -> JsonObject:
    place = f"messages[{index}]"
    if not isinstance(message, ChatMessage):
        raise MlxcelError(
            f"{place} is {type(message).__name__}, not a ChatMessage such as "
            'ChatMessage(role="user", content="...").'
        )
    role, blocks = _ROLES[message.role], message.blocks
    if len(blocks) == 1 and type(blocks[0]) is TextBlock and not message.additional_kwargs:
        return {"role": role, "content": blocks[0].text}
    names = ("name", "tool_call_id") if role == "tool" else ("name",)
    more = message.additional_kwargs
    converted = {name: more[name] for name in names if more.get(name)}
    if role == "assistant":
        return {"role": role, **converted, **_answer_fields(place, message, reasoning, urls)}
    return {"role": role, "content": plain_content(_parts(place, blocks, urls)), **converted}


def _answer_fields(place: str, message: ChatMessage, reasoning: bool, urls: bool) -> JsonObject:
    """Return the fields of a message that a model wrote; OpenAI keeps its calls beside the content.

    Blocks that no server knows are left out: only their own provider can read them.
    """
    blocks, more = message.blocks, message.additional_kwargs
    parts = _parts(place, blocks, urls, is_answer=True)
    if isinstance(more.get("refusal"), str):
        parts.append({"type": "text", "text": more["refusal"]})
    fields: JsonObject = {"content": plain_content(parts)}
    if calls := _calls(place, message):
        fields["tool_calls"] = calls
    thoughts = "".join(block.content or "" for block in blocks if isinstance(block, ThinkingBlock))
    thoughts = thoughts or more.get("reasoning_content") or more.get("thinking") or ""
    if reasoning and thoughts and isinstance(thoughts, str):
        # Chat templates read thoughts under this name.
        fields["reasoning_content"] = thoughts
    return fields


def _calls(place: str, message: ChatMessage) -> list[JsonObject]:
    """Return each call once: older histories hold them beside the blocks, many hold them twice."""
    try:
        calls = [
            tool_call(block.tool_name, block.tool_kwargs, block.tool_call_id)
            for block in message.blocks
            if isinstance(block, ToolCallBlock)
        ]
        return calls or [_stored_call(call) for call in _stored_calls(message.additional_kwargs)]
    except (ValueError, TypeError, RecursionError) as error:
        raise MlxcelError(f"{place} has a tool call that cannot be sent: {error}.") from error


def _stored_calls(more: Mapping[str, Any]) -> Iterable[Any]:
    if more.get("tool_calls"):
        calls: Iterable[Any] = more["tool_calls"]
        return calls
    return [more["function_call"]] if more.get("function_call") else []


def _stored_call(call: Any) -> JsonObject:
    """Return a call that a stored history or another adapter keeps in additional_kwargs.

    Raises:
        TypeError: It is not a call.
    """
    fields = call.model_dump() if isinstance(call, BaseModel) else call
    if not isinstance(fields, Mapping):
        raise TypeError(f"it is {type(call).__name__}, not a dictionary or a model of Pydantic")
    function = fields.get("function")
    if not isinstance(function, Mapping):
        function = fields
    return tool_call(
        function.get("name") or fields.get("tool_name"),
        _first_present(function, "arguments", "input", "args", "tool_kwargs"),
        _first_present(fields, "id", "call_id", "tool_call_id", "toolUseId"),
    )


def _first_present(fields: Mapping[str, Any], *names: str) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


# --------------------------------------------------------------------------- content


def _parts(
    place: str, blocks: Sequence[ContentBlock], urls: bool, is_answer: bool = False
) -> list[JsonObject]:
    """Return the parts of OpenAI's content for blocks; an answer may hold blocks of any kind."""
    parts: list[JsonObject] = []
    for number, block in enumerate(blocks):
        if isinstance(block, SENT_BLOCKS) or not (is_answer or isinstance(block, CachePoint)):
            parts.extend(_block_parts(f"{place}.blocks[{number}]", block, urls))
    return parts


def _block_parts(place: str, block: ContentBlock, urls: bool) -> Iterator[JsonObject]:
    if isinstance(block, TextBlock):
        yield {"type": "text", "text": block.text}
    elif isinstance(block, CitableBlock):
        inner = plain_content(_parts(place, block.content, urls))
        yield from _titled_parts(inner, block.title)
    elif isinstance(block, CitationBlock):
        inner = plain_content(_parts(place, [block.cited_content], urls))
        yield from _titled_parts(inner, block.title)
    elif isinstance(block, DocumentBlock):
        title = block.title if block.title != UNTITLED else ""
        text = document_text(place, block)
        if text is None:
            raise _not_accepted_error(place, block)
        yield {"type": "text", "text": titled(text, title or "")}
    elif isinstance(block, Media):
        yield media_part(place, block, urls)
    else:
        raise _not_accepted_error(place, block)


def _titled_parts(content: str | list[JsonObject], title: str) -> list[JsonObject]:
    if isinstance(content, str):
        return [{"type": "text", "text": titled(content, title)}]
    return [{"type": "text", "text": title}, *content] if title else content


def _not_accepted_error(place: str, block: ContentBlock) -> MlxcelError:
    return MlxcelError(
        f"{place} is a {type(block).__name__}, which no server accepts: send a TextBlock, "
        "ImageBlock, AudioBlock, VideoBlock or a document that holds text. Extract the text of a "
        "document first, for example with SimpleDirectoryReader."
    )
