"""Progress of a prompt in LangChain: chunks without content, and custom events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk

from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import LLAMA_CPP, progress

TOKEN = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "text": "Hi"}]}
END = {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
TOLD = [
    {"total": 2000, "cache": 0, "processed": processed, "time_ms": 10.0 * processed}
    for processed in (0, 512, 2000)
]


class Listener(BaseCallbackHandler):
    """Keeps the custom events of each run."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.events.append((name, data))


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    server.route("/props", Reply.json(LLAMA_CPP))
    server.script(Reply.events([progress(0), progress(512), progress(2000), TOKEN, END]))
    return server


@pytest.fixture
def llm(server: FakeServer) -> Iterator[ChatMlxcel]:
    with ChatMlxcel(base_url=server.url, return_progress=True) as model:
        yield model


def check(chunks: list[AIMessageChunk]) -> None:
    told = [chunk for chunk in chunks if "prompt_progress" in chunk.response_metadata]
    assert TOLD == [chunk.response_metadata["prompt_progress"][0] for chunk in told]
    assert [""] * 3 == [chunk.content for chunk in told]
    assert told == chunks[:3]

    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert ("Hi", TOLD) == (whole.text, whole.response_metadata["prompt_progress"])


def test_chunks_carry_it(llm: ChatMlxcel) -> None:
    check(list(llm.stream("hi")))


async def test_chunks_carry_it_in_tasks(llm: ChatMlxcel) -> None:
    check([chunk async for chunk in llm.astream("hi")])


def test_whole_answers_dispatch_events(llm: ChatMlxcel) -> None:
    listener = Listener()

    assert "Hi" == llm.invoke("hi", {"callbacks": [listener]}).text

    assert [("prompt_progress", data) for data in TOLD] == listener.events


async def test_whole_answers_dispatch_events_in_tasks(llm: ChatMlxcel) -> None:
    listener = Listener()

    assert "Hi" == (await llm.ainvoke("hi", {"callbacks": [listener]})).text

    assert [("prompt_progress", data) for data in TOLD] == listener.events


def test_it_is_off_by_default(server: FakeServer) -> None:
    with ChatMlxcel(base_url=server.url) as llm:
        list(llm.stream("hi"))

    assert "return_progress" not in server.posts[-1].json


def test_it_does_not_decide_an_answer_so_caches_ignore_it(llm: ChatMlxcel) -> None:
    without = llm.model_copy(update={"return_progress": False})

    assert without._get_llm_string() == llm._get_llm_string(return_progress=True)
