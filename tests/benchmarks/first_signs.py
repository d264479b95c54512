"""How long somebody waits for the first sign of life while the engine reads a long prompt."""

from __future__ import annotations

import contextlib
import time
from functools import singledispatch
from typing import Any

from llama_index.core.instrumentation import (  # type: ignore[attr-defined]  # missing in __all__ there
    get_dispatcher,
)
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import ChatMessage
from pydantic import Field

from mlxcel_integrations import ManagedServer, PromptProgress
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.llama_index.prompt_progress import PromptProgressEvent
from tests.benchmarks.clients import Client, Core, Httpx, LangChain, LlamaIndex
from tests.benchmarks.one_token import FLOORS, LONG, Message, ask, askers, user
from tests.benchmarks.part import Part
from tests.embedded.texts import log_book

__all__ = ["PARTS"]


def first_signs(rounds: int, peers: bool) -> dict[str, float]:
    """Return the seconds until a client tells anything: a progress if it can, or else a token.

    Args:
        rounds: Nothing here: those who tell none wait for long enough.
        peers: Whether packages of others take part.
    """
    took = {}
    with ManagedServer("embedded", host="127.0.0.1", parallel=1) as server:
        for name, client in askers(server.base_url.removesuffix("/v1"), peers).items():
            # Answered once the engine has given up the prompt before.
            ask(client, [user("hi")])
            # Each begins in another way, so that nothing is reused.
            text = f"{name}. {log_book(LONG)} Which port on day 3?"
            begin = time.perf_counter()
            took[name] = first_sign(client, [user(text)]) - begin
    return took


@singledispatch
def first_sign(client: Client, messages: list[Message]) -> float:
    """Ask, and return when the first sign came."""
    raise NotImplementedError


@first_sign.register
def _(client: Httpx, messages: list[Message]) -> float:
    body = {"messages": messages, "stream": True, "max_tokens": 1}
    with client.client.stream("POST", "/v1/chat/completions", json=body, timeout=None) as answer:
        next(answer.iter_raw())
    return time.perf_counter()


class Seen(Exception):
    """The first sign of life."""


def leave(progress: PromptProgress) -> None:
    """Read no further."""
    raise Seen


@first_sign.register
def _(client: Core, messages: list[Message]) -> float:
    with contextlib.suppress(Seen):
        next(client.llm.chat_stream(messages, progress=leave))
    return time.perf_counter()


@first_sign.register
def _(client: LangChain, messages: list[Message]) -> float:
    wanted = {"return_progress": True} if isinstance(client.model, ChatMlxcel) else {}
    next(client.model.stream(messages, max_tokens=1, **wanted))
    return time.perf_counter()


class Handler(BaseEventHandler):
    """Keeps when progress was told."""

    times: list[float] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the handler."""
        return "Handler"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Handle an event."""
        if isinstance(event, PromptProgressEvent):
            self.times.append(time.perf_counter())


@first_sign.register
def _(client: LlamaIndex, messages: list[Message]) -> float:
    handler, dispatcher = Handler(), get_dispatcher()
    wanted = {"return_progress": True} if isinstance(client.model, Mlxcel) else {}
    sent = [ChatMessage(**message) for message in messages]
    dispatcher.add_event_handler(handler)
    try:
        next(client.model.stream_chat(sent, max_tokens=1, **wanted))
    finally:
        dispatcher.event_handlers.remove(handler)
    return next(iter(handler.times), time.perf_counter())


PARTS = (Part("first signs", "s", 1, first_signs, FLOORS),)
