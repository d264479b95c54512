"""Ways to call: each public class by each of its methods that answers, with one interface."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

from mlxcel_integrations import LLM, AsyncLLM
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel

__all__ = ["LIMITS", "STREAMS", "WAYS", "Ask", "Outcome", "Way", "each_way"]

LIMITS = {"timeout": 10.0, "max_retries": 2}

Outcome = tuple[str, BaseException | None]
"""The text that came, and how it ended."""

Ask = Callable[..., Outcome]
"""Asks a question, "hi" if none is given."""


@dataclass(frozen=True)
class Way:
    """One way to call.

    Attributes:
        name: The class and the method.
        make: The class.
        question: Makes of a text, and the address of an image beside it or None, what it takes.
        answer: Asks an object, and returns a text, an iterator of texts, or one of the two to be
            awaited.
    """

    name: str
    make: Callable[..., Any]
    question: Callable[[str, str | None], Any]
    answer: Callable[[Any, Any], Any]

    @property
    def streams(self) -> bool:
        """Whether the text comes in pieces."""
        return self.name.endswith("stream") or "stream_" in self.name

    @property
    def is_async(self) -> bool:
        """Whether it needs an event loop."""
        return self.name.startswith("AsyncLLM") or ".a" in self.name

    @property
    def in_langchain(self) -> bool:
        """Whether its errors are LangChain's too."""
        return self.make is ChatMlxcel

    def __call__(self, url: str, **options: Any) -> Outcome:
        """Ask a server once."""
        with self.opened(base_url=url, **{**LIMITS, **options}) as ask:
            return ask()

    @contextlib.contextmanager
    def opened(
        self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None, **options: Any
    ) -> Iterator[Ask]:
        """Make an object, and return what asks it; close it in the end."""
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            llm = self.make(**options)

            def ask(text: str = "hi", image: str | None = None) -> Outcome:
                pieces: list[str] = []
                error = None
                try:
                    answer = self.answer(llm, self.question(text, image))
                    if self.is_async:
                        runner.run(_await_all(answer, pieces))
                    else:
                        pieces.extend([answer] if isinstance(answer, str) else answer)
                except Exception as caught:  # noqa: BLE001 - it is what is looked at
                    error = caught
                return "".join(pieces), error

            try:
                yield ask
            finally:
                if self.is_async:
                    runner.run(llm.close() if self.make is AsyncLLM else llm.aclose())
                else:
                    llm.close()


async def _await_all(answer: Any, pieces: list[str]) -> None:
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, AsyncIterator):
        async for piece in answer:
            pieces.append(piece)
    else:
        pieces.append(answer)


def _messages(text: str, image: str | None) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if image is not None:
        parts.append({"type": "image_url", "image_url": {"url": image}})
    return [{"role": "user", "content": parts if image is not None else text}]


def _for_langchain(text: str, image: str | None) -> list[HumanMessage]:
    return [HumanMessage(_messages(text, image)[0]["content"])]


def _for_llama_index(text: str, image: str | None) -> list[ChatMessage]:
    blocks: list[Any] = [TextBlock(text=text)]
    # A path would be read, as the user asked for it: an address is what is not looked at.
    return [ChatMessage(blocks=blocks + ([ImageBlock(url=image)] if image is not None else []))]


async def _ainvoke(llm: ChatMlxcel, question: Any) -> str:
    return (await llm.ainvoke(question)).text


async def _achat(llm: Mlxcel, question: Any) -> str:
    return (await llm.achat(question)).message.content or ""


async def _astream_chat(llm: Mlxcel, question: Any) -> AsyncIterator[str]:
    async for chunk in await llm.astream_chat(question):
        yield chunk.delta or ""


WAYS = [
    Way("LLM.chat", LLM, _messages, LLM.chat),
    Way("LLM.chat_stream", LLM, _messages, LLM.chat_stream),
    Way("AsyncLLM.chat", AsyncLLM, _messages, AsyncLLM.chat),
    Way("AsyncLLM.chat_stream", AsyncLLM, _messages, AsyncLLM.chat_stream),
    Way("ChatMlxcel.invoke", ChatMlxcel, _for_langchain, lambda llm, q: llm.invoke(q).text),
    Way(
        "ChatMlxcel.stream",
        ChatMlxcel,
        _for_langchain,
        lambda llm, q: (chunk.text for chunk in llm.stream(q)),
    ),
    Way("ChatMlxcel.ainvoke", ChatMlxcel, _for_langchain, _ainvoke),
    Way(
        "ChatMlxcel.astream",
        ChatMlxcel,
        _for_langchain,
        lambda llm, q: (chunk.text async for chunk in llm.astream(q)),
    ),
    Way("Mlxcel.chat", Mlxcel, _for_llama_index, lambda llm, q: llm.chat(q).message.content or ""),
    Way(
        "Mlxcel.stream_chat",
        Mlxcel,
        _for_llama_index,
        lambda llm, q: (chunk.delta or "" for chunk in llm.stream_chat(q)),
    ),
    Way("Mlxcel.achat", Mlxcel, _for_llama_index, _achat),
    Way("Mlxcel.astream_chat", Mlxcel, _for_llama_index, _astream_chat),
]
OF_CLIENTS, OF_LANGCHAIN, OF_LLAMA_INDEX = WAYS[:4], WAYS[4:8], WAYS[8:]
STREAMS = [way for way in WAYS if way.streams]


def each_way(ways: list[Way]) -> pytest.MarkDecorator:
    """Run a test once for each of these ways."""
    return pytest.mark.parametrize("way", ways, ids=[way.name for way in ways])
