"""LlamaIndex's messages as OpenAI messages."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ContentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from pydantic import BaseModel

from ..errors import MlxcelError

__all__ = ["to_openai_messages"]

JsonObject = dict[str, Any]
Media = ImageBlock | AudioBlock | VideoBlock

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
        messages: A conversation.
        reasoning: Whether to send the model's earlier thinking, too.
        urls: Whether to send URLs of images, audio and video as they are.

    Raises:
        MlxcelError: A message holds something that no server accepts.
    """
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
    not_content = (ThinkingBlock, ToolCallBlock) if role == "assistant" else ()
    content = [(n, block) for n, block in enumerate(blocks) if not isinstance(block, not_content)]
    converted: JsonObject = {"role": role, "content": _content(place, content, urls)}
    if role == "assistant":
        return {**converted, **_calls_and_thoughts(message, reasoning)}
    names = ("name", "tool_call_id") if role == "tool" else ("name",)
    given = message.additional_kwargs
    return {**converted, **{name: given[name] for name in names if given.get(name)}}


def _calls_and_thoughts(message: ChatMessage, reasoning: bool) -> JsonObject:
    """Return the fields of an assistant message that OpenAI keeps beside its content."""
    fields: JsonObject = {}
    calls = [_call(block) for block in message.blocks if isinstance(block, ToolCallBlock)]
    calls = calls or list(map(_stored_call, message.additional_kwargs.get("tool_calls") or ()))
    if calls:
        fields["tool_calls"] = calls
    thoughts = "".join(
        block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock)
    )
    if thoughts and reasoning:
        # Chat templates read thoughts under this name.
        fields["reasoning_content"] = thoughts
    return fields


def _call(block: ToolCallBlock) -> JsonObject:
    function = {"name": block.tool_name, "arguments": _arguments(block.tool_kwargs)}
    return {"type": "function", "id": block.tool_call_id or "", "function": function}


def _arguments(given: dict[str, Any] | str) -> str:
    if isinstance(given, str):
        # llama.cpp answers 500 to arguments that are not JSON, so these become a JSON string.
        with contextlib.suppress(ValueError):
            given = json.loads(given or "{}")
    return json.dumps(given)


def _stored_call(call: Any) -> Any:
    """Return a call that a stored history or another adapter keeps in additional_kwargs."""
    return call.model_dump() if isinstance(call, BaseModel) else call


def _content(
    place: str, blocks: Sequence[tuple[int, ContentBlock]], urls: bool
) -> str | list[JsonObject]:
    """Return one string if there is only text, which every chat template takes, else parts."""
    if all(isinstance(block, TextBlock) for _, block in blocks):
        return "\n".join(block.text for _, block in blocks if isinstance(block, TextBlock))
    return [_part(f"{place}.blocks[{number}]", block, urls) for number, block in blocks]


def _part(place: str, block: ContentBlock, urls: bool) -> JsonObject:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    if not isinstance(block, Media):
        raise MlxcelError(
            f"{place} is a {type(block).__name__}, which no server accepts: send a TextBlock, "
            "ImageBlock, AudioBlock or VideoBlock. Extract the text of a document first, for "
            "example with SimpleDirectoryReader."
        )
    url = str(block.url or "")
    if url and not url.startswith("data:"):
        if not urls:
            raise MlxcelError(
                f"{place} is the address {url!r}, which the server would read with its own "
                "rights. Pass the data or a path, or allow addresses with send_urls=True."
            )
        return _media_part(block, url)
    return _data_part(place, block)


def _data_part(place: str, block: Media) -> JsonObject:
    try:
        data = _read(block)
        # A block made of bytes detects their format.
        if isinstance(block, AudioBlock):
            kind = block.format or AudioBlock(audio=data).format
        elif isinstance(block, ImageBlock):
            kind = block.image_mimetype or ImageBlock(image=data).image_mimetype
        else:
            kind = block.video_mimetype or VideoBlock(video=data).video_mimetype or "video/mp4"
    except (ValueError, OSError) as error:
        raise MlxcelError(f"{place} cannot be read: {error}.") from error
    encoded = base64.b64encode(data).decode()
    if isinstance(block, AudioBlock):
        return {"type": "input_audio", "input_audio": {"data": encoded, "format": kind or "wav"}}
    return _media_part(block, f"data:{kind or 'application/octet-stream'};base64,{encoded}")


def _read(block: Media) -> bytes:
    """Return the bytes of a block, of its file or of its data URL."""
    if isinstance(block, ImageBlock):
        stream = block.resolve_image()
    elif isinstance(block, AudioBlock):
        stream = block.resolve_audio()
    else:
        stream = block.resolve_video()
    data: bytes = stream.read()
    return data


def _media_part(block: Media, url: str) -> JsonObject:
    if isinstance(block, AudioBlock):
        return {"type": "input_audio", "input_audio": {"data": url}}
    kind = "image_url" if isinstance(block, ImageBlock) else "video_url"
    names = ("detail",) if isinstance(block, ImageBlock) else ("fps",)
    more = {name: value for name in names if (value := getattr(block, name)) is not None}
    return {"type": kind, kind: {"url": url, **more}}
