"""LangChain's standard content blocks for our messages.

Without a translator, LangChain loses tool calls with invalid arguments, and in streams with
``output_version="v1"`` the first tool call: it numbers the blocks of a stream from zero, as servers
number tool calls, and merges blocks with the same number.
"""

from __future__ import annotations

from typing import cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as types
from langchain_core.messages.block_translators import register_translator

__all__ = ["PROVIDER"]

PROVIDER = "mlxcel"


def _message_blocks(message: AIMessage) -> list[types.ContentBlock]:
    blocks = _text_blocks(message)
    for call in message.tool_calls:
        blocks.append(
            types.ToolCall(type="tool_call", id=call["id"], name=call["name"], args=call["args"])
        )
    for invalid in message.invalid_tool_calls:
        blocks.append(cast("types.InvalidToolCall", {**invalid, "type": "invalid_tool_call"}))
    return blocks


def _chunk_blocks(message: AIMessageChunk) -> list[types.ContentBlock]:
    if message.chunk_position == "last":
        return _message_blocks(message)
    blocks = _text_blocks(message)
    for position, part in enumerate(message.tool_call_chunks):
        number = part["index"] if part["index"] is not None else position
        block = types.ToolCallChunk(
            type="tool_call_chunk",
            id=part["id"],
            name=part["name"],
            args=part["args"],
            # Of string indexes, LangChain merges those with this prefix; its own are integers.
            index=f"lc_tool_call_{number}",
        )
        blocks.append(block)
    return blocks


def _text_blocks(message: AIMessage) -> list[types.ContentBlock]:
    """Return the blocks of reasoning and text."""
    if not isinstance(message.content, str):
        # Not one of our messages: LangChain then falls back to its own translation.
        raise NotImplementedError
    blocks: list[types.ContentBlock] = []
    reasoning = message.additional_kwargs.get("reasoning_content")
    if reasoning:
        blocks.append(types.ReasoningContentBlock(type="reasoning", reasoning=reasoning))
    if message.content and message.response_metadata.get("finish_reason") == "refusal":
        refusal = {"type": "refusal", "refusal": message.content}
        blocks.append(cast("types.ContentBlock", refusal))
    elif message.content:
        blocks.append(types.TextContentBlock(type="text", text=message.content))
    return blocks


register_translator(PROVIDER, _message_blocks, _chunk_blocks)
