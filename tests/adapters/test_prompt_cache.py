"""Prompts that share their beginning: the engine computes only what differs, in every kind of call.

A relay in front of the engine notes each prompt, and how much of it came from the cache.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from mlxcel_integrations import LLM, ManagedServer

pytestmark = pytest.mark.engine

TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>\n{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
    "{% if m.content is string %}{{ m.content }}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}"
)
"""A template in the order of most: tools, then the messages, each as it is."""

SHOWN = re.compile(r"\n\n(Answer|Call a tool, or answer) with JSON that fits .*", re.DOTALL)

STORY = " ".join(
    f"On day {day} the ship left port {day * 7 % 23} with {day * 13 % 97} crates of fruit."
    for day in range(1, 36)
)

LEAST_REUSED = 0.95


class Colour(BaseModel):
    """The colour of something."""

    colour: Literal["red", "green", "blue"]


class Port(BaseModel):
    """A port, and what happened there."""

    number: int = Field(ge=0, le=99, description="Number of the port.")
    busy: bool


TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Look {name} up.",
            "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
        },
    }
    for name in ("crates", "days", "ports")
]


@dataclass
class Relay:
    """What went through.

    Attributes:
        url: Its address.
        calls: The body of each chat, and the tokens of its prompt that were in the cache.
    """

    url: str
    engine: httpx.Client
    calls: list[tuple[dict[str, Any], int]] = field(default_factory=list)

    def prompt(self, body: dict[str, Any]) -> list[int]:
        """Return the tokens of the prompt of a chat."""
        made = self.engine.post("/apply-template", json=body).json()["prompt"]
        given = {"content": made, "add_special": True}
        tokens: list[int] = self.engine.post("/tokenize", json=given).json()["tokens"]
        return tokens


@contextmanager
def relaying(socket: str) -> Iterator[Relay]:
    # The engine closes connections that are not used for some seconds.
    alone = httpx.Limits(max_keepalive_connections=0)
    transport = httpx.HTTPTransport(uds=socket, limits=alone)
    with httpx.Client(transport=transport, base_url="http://engine", timeout=120) as engine:

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.relay(b"")

            def do_POST(self) -> None:
                self.relay(self.rfile.read(int(self.headers["content-length"])))

            def relay(self, body: bytes) -> None:
                pieces = []
                with engine.stream(self.command, self.path, content=body) as answer:
                    self.send_response(answer.status_code)
                    self.send_header("content-type", answer.headers["content-type"])
                    self.end_headers()
                    for piece in answer.iter_raw():
                        pieces.append(piece)
                        self.wfile.write(piece)
                if self.path.endswith("/chat/completions"):
                    stream = b"".join(pieces).decode()
                    relay.calls.append((json.loads(body), cached_tokens(stream)))

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            relay = Relay(f"http://127.0.0.1:{server.server_port}", engine)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield relay
            finally:
                server.shutdown()
                thread.join()


def cached_tokens(stream: str) -> int:
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    (usage,) = [event["usage"] for event in events if event.get("usage")]
    cached: int = usage["prompt_tokens_details"]["cached_tokens"]
    return cached


@pytest.fixture(scope="module")
def engine() -> Iterator[Relay]:
    with (
        ManagedServer("embedded", parallel=1, ctx_size=4096, chat_template=TEMPLATE) as server,
        relaying(str(server.socket)) as relay,
    ):
        yield relay


@pytest.fixture
def relay(engine: Relay) -> Relay:
    engine.calls.clear()
    return engine


def assert_reused(relay: Relay, count: int) -> None:
    """Check that each prompt after the first reused all that the caller's messages share."""
    assert count == len(relay.calls)
    bodies = [body for body, _ in relay.calls]
    prompts = [relay.prompt(body) for body in bodies]
    own = [relay.prompt(without_schema(body)) for body in bodies]
    for at in range(1, count):
        could = shared(prompts[at - 1], prompts[at])
        assert could > 600
        assert relay.calls[at][1] >= LEAST_REUSED * could, f"call {at}"
        # What this package adds to prompts must not shorten the part that they share.
        assert could >= LEAST_REUSED * shared(own[at - 1], own[at]), f"call {at}"


def without_schema(body: dict[str, Any]) -> dict[str, Any]:
    messages = [
        {**message, "content": SHOWN.sub("", message["content"] or "")}
        for message in body["messages"]
    ]
    return {**body, "messages": messages}


def shared(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


# --------------------------------------------------------------------------- core


FOLLOWED = [
    {"role": "system", "content": "You read log books."},
    {"role": "user", "content": STORY},
    {"role": "assistant", "content": "Of a ship."},
    {"role": "user", "content": "Which colour are the crates?"},
]

Ask = Callable[[LLM], object]


def plain(llm: LLM) -> object:
    return llm.chat(FOLLOWED, max_tokens=2)


def as_colour(llm: LLM) -> object:
    return llm.chat(FOLLOWED, schema=Colour, max_tokens=40)


def as_port(llm: LLM) -> object:
    return llm.chat(FOLLOWED, schema=Port, max_tokens=40)


def with_tools(llm: LLM) -> object:
    return llm.chat(FOLLOWED, tools=TOOLS, max_tokens=2)


def forced(llm: LLM) -> object:
    return llm.chat(FOLLOWED, tools=TOOLS, tool_choice="required", max_tokens=40)


def named(llm: LLM) -> object:
    return llm.chat(FOLLOWED, tools=TOOLS, tool_choice="days", max_tokens=40)


@pytest.mark.parametrize(
    "asks",
    [
        (plain, as_colour),
        (as_colour, plain),
        (as_colour, as_port),
        (with_tools, forced),
        (with_tools, named, forced),
    ],
    ids=lambda asks: "-".join(ask.__name__ for ask in asks),
)
def test_a_conversation_that_is_answered_in_two_ways_is_read_once(
    relay: Relay, asks: tuple[Ask, ...]
) -> None:
    with LLM(base_url=relay.url) as llm:
        for ask in asks:
            ask(llm)

    assert_reused(relay, len(asks))


# --------------------------------------------------------------------------- LangChain


def test_an_agent_with_a_schema_reads_only_what_is_new_in_each_of_five_turns(relay: Relay) -> None:
    from langchain.agents.structured_output import ProviderStrategy
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    from mlxcel_integrations.langchain import ChatMlxcel

    messages: list[Any] = [
        SystemMessage("You read log books."),
        HumanMessage(STORY),
    ]
    with ChatMlxcel(base_url=relay.url, max_tokens=30) as llm:
        # As an agent binds it.
        bound = llm.bind_tools(TOOLS, strict=True, **ProviderStrategy(Port).to_model_kwargs())
        for turn in range(5):
            bound.invoke(messages)
            call = {"name": "crates", "args": {"n": turn}, "id": f"c{turn}"}
            result = ToolMessage(f"{turn * 3} crates on that day.", tool_call_id=f"c{turn}")
            messages += [AIMessage("", tool_calls=[call]), result]

    assert_reused(relay, 5)


def test_langchain_answers_a_conversation_in_several_forms_at_the_cost_of_one(
    relay: Relay,
) -> None:
    from mlxcel_integrations.langchain import ChatMlxcel

    with ChatMlxcel(base_url=relay.url, max_tokens=40) as llm:
        for model in (llm, llm.with_structured_output(Colour), llm.with_structured_output(Port)):
            model.invoke(FOLLOWED)

    assert_reused(relay, 3)


# --------------------------------------------------------------------------- LlamaIndex


def test_a_chat_engine_of_llama_index_may_take_turns_with_and_without_a_schema(
    relay: Relay,
) -> None:
    from llama_index.core.chat_engine import SimpleChatEngine
    from llama_index.core.memory import ChatMemoryBuffer

    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(base_url=relay.url, max_tokens=30) as llm:
        memory = ChatMemoryBuffer.from_defaults(token_limit=3000)
        models = (llm, llm.as_structured_llm(Colour), llm.as_structured_llm(Port), llm)
        for model, question in zip(models, (STORY, "Colour?", "Port?", "Why?"), strict=True):
            SimpleChatEngine.from_defaults(
                llm=model, memory=memory, system_prompt="You read log books."
            ).chat(question)

    assert_reused(relay, 4)


def test_structured_predictions_over_the_nodes_of_one_question_share_it(relay: Relay) -> None:
    from llama_index.core import PromptTemplate
    from llama_index.core.schema import TextNode

    from mlxcel_integrations.llama_index import Mlxcel

    prompt = PromptTemplate("{story}\nWhich colour is in this line? {node}")
    given = {"max_tokens": 30, "system_prompt": "You read log books."}
    nodes = [TextNode(text=f"The {thing} is painted.") for thing in ("door", "mast", "sail")]
    with Mlxcel(base_url=relay.url, **given) as llm:
        for node in nodes:
            llm.structured_predict(Colour, prompt, story=STORY, node=node.text)

    assert_reused(relay, 3)
