"""Requests for one token, with a prompt that is read for it, to the embedded engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

from llama_index.core.llms import ChatMessage

from tests.benchmarks.clients import Client, Core, Httpx, LangChain, LlamaIndex, clients

__all__ = ["FLOORS", "LONG", "OURS", "Message", "ask", "askers", "user"]

OURS = ("`LLM`", "`ChatMlxcel`", "`Mlxcel`")
FLOORS = dict.fromkeys((*OURS, "`ChatLlama`", "`ChatOpenAI`", "`OpenAILike`"), ("httpx and json",))
NOT_ASKED = ("LangChain alone", "LlamaIndex alone", "`ChatOllama`", "`Ollama`")
"""The classes of Ollama speak the API of another server."""

LONG = 105
"""Entries of a log book that has 2,000 tokens, which take many seconds."""

Message = dict[str, str]


def askers(url: str, peers: bool) -> dict[str, Client]:
    """Return the clients that can ask the engine; see ``clients``."""
    found = clients(url, peers=peers)
    return {name: client for name, client in found.items() if name not in NOT_ASKED}


def user(text: str) -> Message:
    """Return a message of the user."""
    return {"role": "user", "content": text}


@singledispatch
def ask(client: Client, messages: list[Message]) -> tuple[int, int]:
    """Ask for one token; return the tokens of the prompt, and how many of them were reused."""
    raise NotImplementedError


@ask.register
def _(client: Httpx, messages: list[Message]) -> tuple[int, int]:
    body = {"messages": messages, "max_tokens": 1}
    return counted(client.client.post("/v1/chat/completions", json=body, timeout=None).json())


@ask.register
def _(client: Core, messages: list[Message]) -> tuple[int, int]:
    return counted({"usage": client.llm.complete_chat(messages, max_tokens=1).usage})


@ask.register
def _(client: LangChain, messages: list[Message]) -> tuple[int, int]:
    usage: Any = client.model.invoke(messages, max_tokens=1).usage_metadata
    return usage["input_tokens"], usage["input_token_details"]["cache_read"]


@ask.register
def _(client: LlamaIndex, messages: list[Message]) -> tuple[int, int]:
    raw = client.model.chat([ChatMessage(**message) for message in messages], max_tokens=1).raw
    return counted(raw if isinstance(raw, dict) else raw.model_dump())


def counted(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tokens of a prompt, and how many were reused, as an answer tells them."""
    usage = answer["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
