"""Clients that take part: the least possible work, this package, and others if installed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CustomLLM,
    LLMMetadata,
)
from llama_index.core.llms.callbacks import llm_chat_callback

from mlxcel_integrations import LLM, AsyncLLM
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel

__all__ = ["FLOORS", "PIECES", "Client", "clients"]

QUESTION = "hi"
PIECES = 1000
"""How many pieces a streamed answer has."""


class Client(Protocol):
    """How a client is asked."""

    def ask(self) -> object:
        """Return a whole answer."""

    def stream(self) -> int:
        """Return how many pieces of text have come."""

    async def astream(self) -> int:
        """Return how many pieces of text have come."""


# --------------------------------------------------------------------------- without a framework


class Httpx:
    """The least that one can do: read the stream, and the JSON of each event."""

    def __init__(self, url: str, question: str = QUESTION, **fields: Any) -> None:
        self.client = httpx.Client(base_url=url)
        self.async_client = httpx.AsyncClient(base_url=url)
        messages = [{"role": "user", "content": question}]
        self.body = {"model": "m", "stream": True, "messages": messages, **fields}

    def ask(self) -> object:
        return self.stream()

    def stream(self) -> int:
        count, rest = 0, b""
        with self.client.stream("POST", "/v1/chat/completions", json=self.body) as response:
            for part in response.iter_raw():
                pieces, rest = self.pieces(rest + part)
                count += pieces
        return count

    async def astream(self) -> int:
        count, rest = 0, b""
        async with self.async_client.stream(
            "POST", "/v1/chat/completions", json=self.body
        ) as response:
            async for part in response.aiter_raw():
                pieces, rest = self.pieces(rest + part)
                count += pieces
        return count

    def pieces(self, data: bytes) -> tuple[int, bytes]:
        """Return how many pieces of text there are, and the bytes that are no whole event."""
        *events, rest = data.split(b"\n\n")
        parsed = [json.loads(event[6:]) for event in events if event != b"data: [DONE]"]
        choices = [choice for event in parsed for choice in event["choices"]]
        return sum(bool(choice["delta"].get("content")) for choice in choices), rest


class Core:
    """This package without a framework."""

    def __init__(self, url: str) -> None:
        self.llm = LLM(base_url=url)
        self.async_llm = AsyncLLM(base_url=url)

    def ask(self) -> object:
        return self.llm.chat(QUESTION)

    def stream(self) -> int:
        return sum(1 for _ in self.llm.chat_stream(QUESTION))

    async def astream(self) -> int:
        return sum([1 async for _ in self.async_llm.chat_stream(QUESTION)])


# --------------------------------------------------------------------------- LangChain


class LangChain:
    """How a chat model of LangChain is asked."""

    def __init__(self, model: BaseChatModel) -> None:
        self.model = model

    def ask(self) -> object:
        return self.model.invoke(QUESTION)

    def stream(self) -> int:
        return sum(1 for chunk in self.model.stream(QUESTION) if chunk.content)

    async def astream(self) -> int:
        return sum([1 async for chunk in self.model.astream(QUESTION) if chunk.content])


class SilentChat(BaseChatModel):
    """What LangChain does by itself: the model is nothing but a loop."""

    @property
    def _llm_type(self) -> str:
        return "silent"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=" word word"))])

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for _ in range(PIECES):
            yield ChatGenerationChunk(message=AIMessageChunk(content=" word"))

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for _ in range(PIECES):
            yield ChatGenerationChunk(message=AIMessageChunk(content=" word"))


def chat_openai(url: str) -> Client:
    from langchain_openai import ChatOpenAI

    options: Any = {"base_url": f"{url}/v1", "api_key": "none", "stream_usage": True}
    return LangChain(ChatOpenAI(model="m", **options))


def chat_ollama(url: str) -> Client:
    from langchain_ollama import ChatOllama

    return LangChain(ChatOllama(model="m", base_url=url))


def chat_llama(url: str) -> Client:
    from langchain_llama_cpp import ChatLlama

    return LangChain(ChatLlama(model="m", base_url=url))


# --------------------------------------------------------------------------- LlamaIndex


class LlamaIndex:
    """How a model of LlamaIndex is asked."""

    messages = (ChatMessage(QUESTION),)

    def __init__(self, model: Any) -> None:
        self.model = model

    def ask(self) -> object:
        return self.model.chat(self.messages)

    def stream(self) -> int:
        return sum(1 for chunk in self.model.stream_chat(self.messages) if chunk.delta)

    async def astream(self) -> int:
        chunks = await self.model.astream_chat(self.messages)
        return sum([1 async for chunk in chunks if chunk.delta])


class SilentLLM(CustomLLM):
    """What LlamaIndex does by itself: the model is nothing but a loop."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, *args: Any, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="")

    def stream_complete(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(" word word", role="assistant"))

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseGen:
        return self._responses()

    @llm_chat_callback()
    async def astream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseAsyncGen:
        async def responses() -> ChatResponseAsyncGen:
            for response in self._responses():
                yield response

        return responses()

    def _responses(self) -> ChatResponseGen:
        text = ""
        for _ in range(PIECES):
            text += " word"
            yield ChatResponse(message=ChatMessage(text, role="assistant"), delta=" word")


def openai_like(url: str) -> Client:
    from llama_index.llms.openai_like import OpenAILike

    return LlamaIndex(
        OpenAILike(model="m", api_base=f"{url}/v1", api_key="none", is_chat_model=True)
    )


def ollama(url: str) -> Client:
    from llama_index.llms.ollama import Ollama

    return LlamaIndex(Ollama(model="m", base_url=url, context_window=4096))


# --------------------------------------------------------------------------- all of them

Make = Callable[[str], Client]

WITHOUT_FRAMEWORK: dict[str, Make] = {"httpx and json": Httpx, "`LLM`": Core}
LANGCHAIN: dict[str, Make] = {
    "LangChain alone": lambda url: LangChain(SilentChat()),
    "`ChatMlxcel`": lambda url: LangChain(ChatMlxcel(base_url=url)),
    "`ChatLlama`": chat_llama,
    "`ChatOllama`": chat_ollama,
    "`ChatOpenAI`": chat_openai,
}
LLAMA_INDEX: dict[str, Make] = {
    "LlamaIndex alone": lambda url: LlamaIndex(SilentLLM()),
    "`Mlxcel`": lambda url: LlamaIndex(Mlxcel(base_url=url)),
    "`Ollama`": ollama,
    "`OpenAILike`": openai_like,
}
OURS = {
    "httpx and json",
    "`LLM`",
    "LangChain alone",
    "`ChatMlxcel`",
    "LlamaIndex alone",
    "`Mlxcel`",
}

FLOORS = {
    "`LLM`": ("httpx and json",),
    **dict.fromkeys([*LANGCHAIN][1:], ("httpx and json", "LangChain alone")),
    **dict.fromkeys([*LLAMA_INDEX][1:], ("httpx and json", "LlamaIndex alone")),
}


def clients(url: str, *, peers: bool) -> dict[str, Client]:
    """Return all clients of a server that can take part.

    Args:
        url: Where the server is.
        peers: Whether those from other packages take part, if they are installed.
    """
    made = {}
    for name, make in {**WITHOUT_FRAMEWORK, **LANGCHAIN, **LLAMA_INDEX}.items():
        if not peers and name not in OURS:
            continue
        try:
            made[name] = make(url)
        except ImportError:
            continue
    return made
