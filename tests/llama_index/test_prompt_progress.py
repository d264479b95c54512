"""Progress of a prompt in LlamaIndex: events of its instrumentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.instrumentation import (  # type: ignore[attr-defined]  # missing in __all__ there
    get_dispatcher,
)
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

from mlxcel_integrations.llama_index import Mlxcel, PromptProgressEvent
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import LLAMA_CPP, progress

TOKEN = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "text": "Hi"}]}
END = {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
HI = [ChatMessage("hi")]


class Listener(BaseEventHandler):
    """Keeps the events of progress."""

    seen: list[PromptProgressEvent]

    def handle(self, event: Any, **kwargs: Any) -> None:
        if isinstance(event, PromptProgressEvent):
            self.seen.append(event)


@pytest.fixture
def listener() -> Iterator[Listener]:
    handlers, listener = get_dispatcher().event_handlers, Listener(seen=[])
    handlers.append(listener)
    yield listener
    handlers.remove(listener)


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Mlxcel]:
    server.route("/props", Reply.json(LLAMA_CPP))
    server.script(Reply.events([progress(0), progress(512), progress(2000), TOKEN, END]))
    with Mlxcel(base_url=server.url, return_progress=True) as model:
        yield model


def check(listener: Listener) -> None:
    assert [0, 0.256, 1] == [event.share for event in listener.seen]
    assert (2000, 0, 512, 5120) == (
        listener.seen[1].total,
        listener.seen[1].cache,
        listener.seen[1].processed,
        listener.seen[1].time_ms,
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda llm: llm.chat(HI),
        lambda llm: list(llm.stream_chat(HI)),
        lambda llm: llm.complete("hi", return_progress=True),
        lambda llm: list(llm.stream_complete("hi", return_progress=True)),
    ],
    ids=["chat", "stream_chat", "complete", "stream_complete"],
)
def test_each_progress_is_an_event(ask: Any, llm: Mlxcel, listener: Listener) -> None:
    ask(llm)

    check(listener)


@pytest.mark.parametrize(
    "ask",
    [
        lambda llm: llm.achat(HI),
        lambda llm: collected(llm.astream_chat(HI)),
        lambda llm: llm.acomplete("hi", return_progress=True),
        lambda llm: collected(llm.astream_complete("hi", return_progress=True)),
    ],
    ids=["achat", "astream_chat", "acomplete", "astream_complete"],
)
async def test_each_progress_is_an_event_in_tasks(
    ask: Any, llm: Mlxcel, listener: Listener
) -> None:
    await ask(llm)

    check(listener)


async def collected(stream: Any) -> list[Any]:
    return [chunk async for chunk in await stream]
