"""Answers of other models, as their packages for LlamaIndex write them.

Each thinks, says something, and calls a tool twice. The shapes are those of llama-index-llms-openai
0.8, -anthropic 0.12, -google-genai 0.11, -ollama 0.11, -bedrock-converse 0.15 and -mistralai 0.11;
those in ``OLDER`` are of releases that kept calls beside the blocks, as many stores still do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import BaseModel

__all__ = ["ANSWERS", "NAME", "THOUGHTLESS", "results"]

Json = dict[str, Any]

NAME = "get_weather"
CITIES = ("Paris", "Rome")
IDS = ("call_1", "call_2")


def json_of(city: str) -> str:
    return f'{{"city": "{city}"}}'


def calls(
    ids: tuple[str | None, ...] = IDS, arguments: Callable[[str], Any] = lambda city: {"city": city}
) -> list[ToolCallBlock]:
    return [
        ToolCallBlock(tool_call_id=call, tool_name=NAME, tool_kwargs=arguments(city))
        for call, city in zip(ids, CITIES, strict=True)
    ]


def answer(*blocks: Any, **more: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=more)


class Function(BaseModel):
    """As openai's class of this name."""

    arguments: str
    name: str


class Call(BaseModel):
    """As openai's ChatCompletionMessageFunctionToolCall."""

    id: str
    function: Function
    type: str = "function"


class MistralCall(BaseModel):
    """As mistralai's ToolCall."""

    function: Function
    id: str = "null"
    type: str | None = None
    index: int = 0


OPENAI_CALLS = [
    Call(id=call, function=Function(arguments=json_of(city), name=NAME))
    for call, city in zip(IDS, CITIES, strict=True)
]
TEXT = TextBlock(text="I look.")
THINKING = ThinkingBlock(content="Two cities.")
SIGNED = ThinkingBlock(
    content="Two cities.", additional_information={"signature": "Eq", "type": "thinking"}
)

ANSWERS: dict[str, ChatMessage] = {
    "OpenAI": answer(THINKING, TEXT, *calls(arguments=json_of), tool_calls=OPENAI_CALLS),
    "OpenAIResponses": answer(
        ThinkingBlock(content=None, additional_information={"id": "rs_0", "type": "reasoning"}),
        ThinkingBlock(
            content="Two cities.",
            num_tokens=5,
            additional_information={"id": "rs_1", "encrypted_content": "gAAA"},
        ),
        TEXT,
        *calls(arguments=json_of),
    ),
    "Anthropic": answer(SIGNED, TEXT, *calls()),
    "Anthropic, streamed": answer(
        SIGNED,
        TEXT,
        *calls(),
        tool_calls=[
            {"id": call, "input": {"city": city}, "name": NAME, "type": "tool_use"}
            for call, city in zip(IDS, CITIES, strict=True)
        ],
    ),
    "Anthropic, cached": answer(
        SIGNED, TEXT, CachePoint(cache_control={"type": "ephemeral"}), *calls()
    ),
    "GoogleGenAI": answer(
        ThinkingBlock(content="Two ", additional_information={"thought": True}),
        ThinkingBlock(content="cities.", additional_information={"thought": True}),
        TEXT,
        *calls(),
        thought_signatures=[None, b"AAAA"],
        prompt_tokens=9,
        completion_tokens=9,
        total_tokens=18,
    ),
    "Ollama": answer(THINKING, TEXT, *calls((None, None))),
    "Ollama, streamed": answer(
        THINKING,
        TEXT,
        *calls((None, None)),
        tool_calls=[{"function": {"name": NAME, "arguments": {"city": city}}} for city in CITIES],
    ),
    "GoogleGenAI on Vertex": answer(THINKING, TEXT, *calls((NAME, NAME)), thought_signatures=[]),
    "BedrockConverse": answer(
        ThinkingBlock(content="Two cities.", additional_information={"signature": "S"}),
        TEXT,
        *calls(),
        tool_calls=[],
        tool_call_id=[],
        status=[],
    ),
    "MistralAI": answer(THINKING, TEXT, *calls(arguments=json_of)),
}

OLDER: dict[str, ChatMessage] = {
    "OpenAI, older": answer(TEXT, tool_calls=OPENAI_CALLS, reasoning_content="Two cities."),
    "OpenAI, stored": answer(
        THINKING, TEXT, tool_calls=[call.model_dump() for call in OPENAI_CALLS]
    ),
    "Anthropic, older": answer(
        SIGNED,
        TEXT,
        tool_calls=[
            {"id": call, "input": {"city": city}, "name": NAME, "type": "tool_use"}
            for call, city in zip(IDS, CITIES, strict=True)
        ],
    ),
    "GoogleGenAI, older": answer(
        THINKING,
        TEXT,
        tool_calls=[
            {"id": call, "args": {"city": city}, "name": NAME}
            for call, city in zip(IDS, CITIES, strict=True)
        ],
    ),
    "BedrockConverse, older": answer(
        THINKING,
        TEXT,
        tool_calls=[
            {"toolUseId": call, "input": {"city": city}, "name": NAME}
            for call, city in zip(IDS, CITIES, strict=True)
        ],
        tool_call_id=[],
        status=[],
    ),
    "Ollama, older": answer(
        TEXT,
        thinking="Two cities.",
        tool_calls=[{"function": {"name": NAME, "arguments": {"city": city}}} for city in CITIES],
    ),
    "MistralAI, older": answer(
        THINKING,
        TEXT,
        tool_calls=[
            MistralCall(id=call, function=Function(arguments=json_of(city), name=NAME))
            for call, city in zip(IDS, CITIES, strict=True)
        ],
    ),
}

ANSWERS |= OLDER

THOUGHTLESS: set[str] = set()
"""Answers without thoughts."""

RESULT_IDS = {"Ollama, older": (NAME, NAME)}
"""Adapters that know no ids put the name of the tool in their place."""


def results(name: str) -> list[ChatMessage]:
    """Return the results of an answer's calls, as the agent of its provider writes them."""
    ids = [
        block.tool_call_id or block.tool_name
        for block in ANSWERS[name].blocks
        if isinstance(block, ToolCallBlock)
    ]
    return [
        ChatMessage(text, role="tool", additional_kwargs={"tool_call_id": call})
        for text, call in zip(("sunny", "rainy"), ids or RESULT_IDS.get(name, IDS), strict=True)
    ]
