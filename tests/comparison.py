"""What models of LangChain and LlamaIndex make of one server, asked the same questions.

Run as a program: ``python -m tests.comparison``. It prints the table of ``docs/comparison.md``. The
answers come from a scripted server, which speaks Ollama's protocol, too; whether a server goes on
after its client has gone is asked of the embedded engine. A class that is not installed has no
column.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ThinkingBlock
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.llms import ChatMessage
from pydantic import BaseModel

from mlxcel_integrations import ManagedServer
from tests.fakes.server import FakeServer, Reply

QUESTION = "What is two plus two?"
GENERATES_FOR_SECONDS = {"ignore_eos": True, "stop": ["@@@"], "max_tokens": 400}
USAGE_IN_STREAMS = {"stream_options": {"include_usage": True}}
TOO_LONG = {
    "message": "the request exceeds the available context size", "code": 400,
    "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096,
}  # fmt: skip


class Town(BaseModel):
    """A town."""

    name: str


class LangChain:
    """How a chat model of LangChain is asked."""

    def ask(self, model: Any) -> Any:
        return model.invoke(QUESTION)

    async def aask(self, model: Any) -> Any:
        return await model.ainvoke(QUESTION)

    def stream(self, model: Any) -> list[Any]:
        return list(model.stream(QUESTION))

    def town(self, model: Any) -> Any:
        return model.with_structured_output(Town).invoke(QUESTION)

    def has_usage(self, chunks: list[Any]) -> bool:
        return any(chunk.usage_metadata for chunk in chunks)

    def has_thoughts(self, answer: Any) -> bool:
        return any(block["type"] == "reasoning" for block in answer.content_blocks)


class LlamaIndex:
    """How a model of LlamaIndex is asked."""

    def ask(self, model: Any) -> Any:
        return model.chat([ChatMessage(QUESTION)])

    async def aask(self, model: Any) -> Any:
        return await model.achat([ChatMessage(QUESTION)])

    def stream(self, model: Any) -> list[Any]:
        return list(model.stream_chat([ChatMessage(QUESTION)]))

    def town(self, model: Any) -> Any:
        return model.structured_predict(Town, PromptTemplate(QUESTION))

    def has_usage(self, chunks: list[Any]) -> bool:
        # What LlamaIndex's own token counter finds in the last chunk.
        return any(get_tokens_from_response(chunks[-1]))

    def has_thoughts(self, answer: Any) -> bool:
        return any(isinstance(block, ThinkingBlock) for block in answer.message.blocks)


@dataclass(frozen=True)
class Contender:
    """A class, and how it is made for a server that answers chats and thinks.

    Attributes:
        module: Where the class is.
        name: Its name.
        framework: How it is asked.
        options: What it is made with, besides the address.
        address: The name of the option for the address, and what follows the server's.
        switches: Options that are off if not given, by the question that they are for.
    """

    module: str
    name: str
    framework: LangChain | LlamaIndex
    options: dict[str, Any] = field(default_factory=dict)
    address: tuple[str, str] = ("base_url", "")
    switches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def make(self, url: str, **more: Any) -> Any:
        name, path = self.address
        cls = getattr(import_module(self.module), self.name)
        return cls(**{name: url + path}, **self.options, **more)

    def with_body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the options that put these fields into each request."""
        if self.name == "OpenAILike":
            return {"additional_kwargs": {"extra_body": body}}
        return {"extra_body": body}

    @property
    def speaks_ollama(self) -> bool:
        return "Ollama" in self.name


OURS = (
    Contender("mlxcel_integrations.langchain", "ChatMlxcel", LangChain()),
    Contender("mlxcel_integrations.llama_index", "Mlxcel", LlamaIndex()),
)
OTHERS = (
    Contender(
        "langchain_openai",
        "ChatOpenAI",
        LangChain(),
        {"model": "qwen", "api_key": "x"},
        ("base_url", "/v1"),
        {"usage": {"stream_usage": True}, "hang_up": {"streaming": True}},
    ),
    Contender(
        "langchain_ollama",
        "ChatOllama",
        LangChain(),
        {"model": "qwen"},
        switches={"thoughts": {"reasoning": True}},
    ),
    Contender(
        "llama_index.llms.openai_like",
        "OpenAILike",
        LlamaIndex(),
        {"model": "qwen", "api_key": "x", "is_chat_model": True},
        ("api_base", "/v1"),
        {
            "form": {"should_use_structured_outputs": True},
            "usage": {"additional_kwargs": USAGE_IN_STREAMS},
        },
    ),
    Contender(
        "llama_index.llms.ollama",
        "Ollama",
        LlamaIndex(),
        {"model": "qwen", "context_window": 4096},
    ),
)


@contextmanager
def answering(text: str) -> Iterator[FakeServer]:
    """A server that thinks, and then says this; as mlxcel, and as Ollama."""
    with FakeServer() as server:
        server.think = lambda body: Reply.text(text, reasoning="Two and two.")
        message = {"role": "assistant", "content": text, "thinking": "Two and two."}
        end = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3}
        server.route("/api/chat", Reply.json({"model": "qwen", "message": message, **end}))
        yield server


def usage(one: Contender, **more: Any) -> bool:
    """The number of tokens ends a stream"""
    with answering("4") as server:
        return one.framework.has_usage(one.framework.stream(one.make(server.url, **more)))


def thoughts(one: Contender, **more: Any) -> bool:
    """Thinking is separate from the answer"""
    with answering("4") as server:
        return one.framework.has_thoughts(one.framework.ask(one.make(server.url, **more)))


def form(one: Contender, **more: Any) -> bool:
    """The server binds answers to a class"""
    with answering('{"name": "Oslo"}') as server:
        town = one.framework.town(one.make(server.url, **more))
        sent = server.requests[-1].json
        return town == Town(name="Oslo") and bool({"response_format", "format"} & set(sent))


def count(one: Contender, **more: Any) -> bool | None:
    """Messages are counted as the model does"""
    if isinstance(one.framework, LlamaIndex):
        return None
    with answering("4") as server:
        model = one.make(server.url, **more)
        used = one.framework.ask(model).usage_metadata["input_tokens"]
        return bool(used == model.get_num_tokens_from_messages([HumanMessage(QUESTION)]))


def overflow(one: Contender, **more: Any) -> bool | None:
    """LangChain's error for long prompts"""
    if isinstance(one.framework, LlamaIndex) or one.speaks_ollama:
        return None
    with FakeServer() as server:
        server.script(Reply.json({"error": TOO_LONG}, 400))
        error = failure(lambda: one.framework.ask(one.make(server.url, **more)))
        return isinstance(error, ContextOverflowError)


def cut(one: Contender, **more: Any) -> bool:
    """A stream that breaks off is an error"""
    with FakeServer() as server:
        choice = {"index": 0, "delta": {"content": "Two plus"}, "finish_reason": None}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        server.script(Reply.events([{**chunk, "choices": [choice]}], done=False))
        message = {"role": "assistant", "content": "Two plus"}
        server.route("/api/chat", Reply.json({"model": "m", "message": message, "done": False}))
        return failure(lambda: one.framework.stream(one.make(server.url, **more))) is not None


def hang_up(one: Contender, url: str, **more: Any) -> bool | None:
    """Cancelling a call stops the server"""
    if one.speaks_ollama:
        return None
    model = one.make(url, **one.with_body(GENERATES_FOR_SECONDS), **more)

    async def cancelled() -> None:
        task = asyncio.ensure_future(one.framework.aask(model))
        await asyncio.to_thread(wait_until, lambda: busy(url))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    left = time.monotonic()
    wait_until(lambda: not busy(url))
    return time.monotonic() - left < 0.5


def loops(one: Contender, **more: Any) -> bool:
    """Three event loops, one request each"""
    with answering("4") as server:
        model = one.make(server.url, **more)
        for _ in range(3):
            asyncio.run(one.framework.aask(model))
        return 3 == sum("chat" in seen.path for seen in server.requests)


def copied(one: Contender, **more: Any) -> bool:
    """A pickled object answers again"""
    with answering("4") as server:
        return bool(one.framework.ask(pickle.loads(pickle.dumps(one.make(server.url, **more)))))


def proxy(one: Contender, **more: Any) -> bool:
    """Works with `HTTP_PROXY` set"""
    before = dict(os.environ)
    os.environ["HTTP_PROXY"] = "http://127.0.0.1:9"
    try:
        with answering("4") as server:
            return bool(one.framework.ask(one.make(server.url, **more)))
    finally:
        os.environ.clear()
        os.environ.update(before)


Question = Callable[..., bool | None]
SCRIPTED: tuple[Question, ...] = (usage, thoughts, form, count, overflow, cut, loops, copied, proxy)
ON_THE_ENGINE: tuple[Question, ...] = (hang_up,)


def failure(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - each class has its own
        return error
    return None


def wait_until(it_is_so: Callable[[], bool]) -> None:
    while not it_is_so():
        time.sleep(0.02)


def busy(url: str) -> bool:
    slots = httpx.get(f"{url}/slots", trust_env=False).json()
    return any(slot["is_processing"] for slot in slots)


def cell(one: Contender, question: Question, *url: str) -> str:
    """Return what the table says: with the options as they are, or else with a switch."""
    said = answer(one, question, *url)
    switch = one.switches.get(question.__name__, {})
    if said is False and switch and answer(one, question, *url, **switch):
        return "option"
    return {True: "yes", False: "no", None: ""}[said]


def answer(one: Contender, question: Question, *url: str, **switch: Any) -> bool | None:
    try:
        return question(one, *url, **switch)
    except Exception as error:  # noqa: BLE001 - each class has its own
        print(f"{one.name}, {question.__doc__}: {type(error).__name__}: {error}", file=sys.stderr)
        return False


def main() -> None:
    """Print the table."""
    shown = [one for one in (*OTHERS, *OURS) if find_spec(one.module.split(".")[0])]
    shown.sort(key=lambda one: isinstance(one.framework, LlamaIndex))
    row("", *(f"`{one.name}`" for one in shown))
    row(*["---"] * (len(shown) + 1))
    for question in SCRIPTED:
        row(question.__doc__, *(cell(one, question) for one in shown))
    with ManagedServer("embedded", host="127.0.0.1") as server:
        url = server.base_url.removesuffix("/v1")
        for question in ON_THE_ENGINE:
            row(question.__doc__, *(cell(one, question, url) for one in shown))


def row(*cells: str | None) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
