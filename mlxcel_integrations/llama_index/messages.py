"""LlamaIndex's messages to the wire: pure."""

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

__all__ = ["to_wire"]

Wire = dict[str, Any]
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


def to_wire(
    messages: Sequence[ChatMessage], *, reasoning: bool = True, urls: bool = False
) -> list[Wire]:
    """Return OpenAI messages.

    Args:
        messages: A conversation.
        reasoning: Whether the model's earlier thinking goes with it.
        urls: Whether addresses of images, sound and video may be sent in place of their data.

    Raises:
        MlxcelError: A message cannot be expressed.
    """
    return [_message(index, message, reasoning, urls) for index, message in enumerate(messages)]


def _message(index: int, message: ChatMessage, reasoning: bool, urls: bool) -> Wire:
    place = f"messages[{index}]"
    if not isinstance(message, ChatMessage):
        raise MlxcelError(
            f"{place} is {type(message).__name__}, not a ChatMessage such as "
            'ChatMessage(role="user", content="...").'
        )
    role, blocks = _ROLES[message.role], message.blocks
    if len(blocks) == 1 and type(blocks[0]) is TextBlock and not message.additional_kwargs:
        return {"role": role, "content": blocks[0].text}
    elsewhere = (ThinkingBlock, ToolCallBlock) if role == "assistant" else ()
    said = [(n, block) for n, block in enumerate(blocks) if not isinstance(block, elsewhere)]
    wire: Wire = {"role": role, "content": _content(place, said, urls)}
    if role == "assistant":
        _set_turn(wire, message, reasoning)
    else:
        names = ("name", "tool_call_id") if role == "tool" else ("name",)
        given = message.additional_kwargs
        wire.update({name: given[name] for name in names if given.get(name)})
    return wire


def _set_turn(wire: Wire, message: ChatMessage, reasoning: bool) -> None:
    """Put into an assistant message what is no content on the wire."""
    calls = [_call(block) for block in message.blocks if isinstance(block, ToolCallBlock)]
    calls = calls or list(map(_older_call, message.additional_kwargs.get("tool_calls") or ()))
    if calls:
        wire["tool_calls"] = calls
    thoughts = "".join(
        block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock)
    )
    if thoughts and reasoning:
        # The name that chat templates read.
        wire["reasoning_content"] = thoughts


def _call(block: ToolCallBlock) -> Wire:
    function = {"name": block.tool_name, "arguments": _arguments(block.tool_kwargs)}
    return {"type": "function", "id": block.tool_call_id or "", "function": function}


def _arguments(given: dict[str, Any] | str) -> str:
    if isinstance(given, str):
        # llama.cpp answers 500 to arguments that are not JSON, so these go as a JSON text.
        with contextlib.suppress(ValueError):
            given = json.loads(given or "{}")
    return json.dumps(given)


def _older_call(call: Any) -> Any:
    """Return a call as stored histories and other adapters keep them beside the blocks."""
    return call.model_dump() if isinstance(call, BaseModel) else call


def _content(
    place: str, blocks: Sequence[tuple[int, ContentBlock]], urls: bool
) -> str | list[Wire]:
    """Return plain text where there is nothing else, as every chat template takes it."""
    if all(isinstance(block, TextBlock) for _, block in blocks):
        return "\n".join(block.text for _, block in blocks if isinstance(block, TextBlock))
    return [_part(f"{place}.blocks[{number}]", block, urls) for number, block in blocks]


def _part(place: str, block: ContentBlock, urls: bool) -> Wire:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    if not isinstance(block, Media):
        raise MlxcelError(
            f"{place} is a {type(block).__name__}, which no server accepts: send a TextBlock, "
            "ImageBlock, AudioBlock or VideoBlock. The text of a document must be read out of it "
            "first, as by SimpleDirectoryReader."
        )
    address = str(block.url or "")
    if address and not address.startswith("data:"):
        if not urls:
            raise MlxcelError(
                f"{place} is the address {address!r}, which the server would read with its own "
                "rights. Pass the data or a path, or allow it with send_urls=True."
            )
        return _addressed(block, address)
    return _with_data(place, block)


def _with_data(place: str, block: Media) -> Wire:
    try:
        data = _read(block)
        # A block that is made of bytes finds out what they are.
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
    return _addressed(block, f"data:{kind or 'application/octet-stream'};base64,{encoded}")


def _read(block: Media) -> bytes:
    """Return what is in a block, in its file or in its data URL."""
    if isinstance(block, ImageBlock):
        stream = block.resolve_image()
    elif isinstance(block, AudioBlock):
        stream = block.resolve_audio()
    else:
        stream = block.resolve_video()
    data: bytes = stream.read()
    return data


def _addressed(block: Media, address: str) -> Wire:
    if isinstance(block, AudioBlock):
        return {"type": "input_audio", "input_audio": {"data": address}}
    kind = "image_url" if isinstance(block, ImageBlock) else "video_url"
    names = ("detail",) if isinstance(block, ImageBlock) else ("fps",)
    more = {name: value for name in names if (value := getattr(block, name)) is not None}
    return {"type": kind, kind: {"url": address, **more}}
