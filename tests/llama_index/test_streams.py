"""Streams send LlamaIndex's events, and hang up as soon as they are left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import ChatMessage

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.llama_index.streams import async_instrumented, instrumented
from tests.fakes.server import FakeServer, Reply
from tests.llama_index.versions import QUERIES_CAN_BE_LEFT

HELLO = [ChatMessage("hello there")]


class Model:
    """A model whose streams note that they were closed."""

    def __init__(self) -> None:
        self.closed = False

    @instrumented(lambda: again)
    def stream(self) -> Generator[int, None, None]:
        """Yield two numbers."""
        try:
            yield from (1, 2)
        finally:
            self.closed = True

    @async_instrumented(lambda: async_again)
    async def astream(self) -> AsyncGenerator[int, None]:
        """Yield two numbers."""
        try:
            for number in (1, 2):
                yield number
        finally:
            self.closed = True


KEPT: list[Any] = []


def again(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as LlamaIndex does: the generator within is read, and never closed."""

    def decorated(*args: Any) -> Generator[int, None, None]:
        inner = method(*args)
        KEPT.append(inner)
        return (abs(number) for number in inner)

    return decorated


def async_again(method: Callable[..., Any]) -> Callable[..., Any]:
    async def decorated(*args: Any) -> AsyncGenerator[int, None]:
        inner = await method(*args)
        KEPT.append(inner)

        async def outer() -> AsyncGenerator[int, None]:
            async for number in inner:
                yield number

        return outer()

    return decorated


def test_a_stream_that_is_left_is_closed_though_others_keep_it() -> None:
    model = Model()
    assert [1, 2] == list(model.stream())

    model = Model()
    stream = model.stream()
    assert (1, False) == (next(stream), model.closed)
    stream.close()
    assert model.closed
    assert "Yield two numbers." == Model.stream.__doc__


def test_an_async_stream_that_is_left_is_closed_though_others_keep_it() -> None:
    async def use() -> None:
        model = Model()
        assert [1, 2] == [number async for number in await model.astream()]

        model = Model()
        stream = await model.astream()
        assert (1, False) == (await anext(stream), model.closed)
        await stream.aclose()
        assert model.closed

    asyncio.run(use())


WRONG = {"response_format": 3}


@pytest.mark.parametrize(
    "ask",
    [
        lambda llm: llm.chat(HELLO, **WRONG),
        lambda llm: llm.stream_chat(HELLO, **WRONG),
        lambda llm: asyncio.run(llm.astream_chat(HELLO, **WRONG)),
    ],
    ids=["whole", "stream", "astream"],
)
def test_what_cannot_be_sent_is_an_error_of_the_call_between_its_events(
    llm: Mlxcel, ask: Callable[[Mlxcel], Any]
) -> None:
    events = LlamaDebugHandler(print_trace_on_end=False)
    llm.callback_manager = CallbackManager([events])

    with pytest.raises(MlxcelError, match="No schema can be made from 3"):
        ask(llm)

    [(_, end)] = events.get_llm_inputs_outputs()
    assert "No schema" in str(end.payload["exception"])


@QUERIES_CAN_BE_LEFT
@pytest.mark.parametrize("handlers", ["no handlers", "handlers that keep all"])
def test_leaving_a_streamed_query_closes_its_connection_at_once(
    server: FakeServer, llm: Mlxcel, handlers: str
) -> None:
    server.script(Reply.text("word " * 1000, delay=0.02))
    if handlers != "no handlers":
        llm.callback_manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    index = SummaryIndex.from_documents([Document(text="The meeting is in Oslo.")])

    response: Any = index.as_query_engine(llm=llm, streaming=True).query("Where?")
    for _ in response.response_gen:
        break
    response.response_gen.close()

    assert server.wait_disconnect()
