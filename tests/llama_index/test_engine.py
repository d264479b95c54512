"""``Mlxcel`` on the embedded engine: what only a real server can show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import ChatMessage

from mlxcel_integrations import ManagedServer
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.slots import busy_slots, within

pytestmark = pytest.mark.engine

CAPITAL = [ChatMessage("What is the capital of France?")]
LONG = [ChatMessage("Write brackets.")]
NEST = {"$ref": "#/$defs/nest"}
NESTED = {**NEST, "$defs": {"nest": {"type": "array", "items": NEST, "minItems": 1}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": NESTED}}
ENDLESS: dict[str, Any] = {"max_tokens": 2000, "extra_body": {"response_format": FORMAT}}
"""What makes answers that do not end by themselves; elsewhere such a schema is refused."""
FREED = 0.8
"""Seconds; the engine notices between two tokens, and with such a grammar one takes up to 0.3."""


@pytest.fixture(scope="module")
def server() -> Iterator[ManagedServer]:
    with ManagedServer("embedded") as running:
        yield running


@pytest.fixture
def llm(server: ManagedServer) -> Iterator[Mlxcel]:
    # A handler that keeps all must not keep a slot.
    manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 32, "callback_manager": manager}
    with Mlxcel(socket=server.socket, **options) as model:
        yield model


@pytest.fixture
def slots(server: ManagedServer) -> Iterator[Callable[[], int]]:
    assert server.socket is not None
    with busy_slots(server.socket) as count:
        yield count


async def drained(chunks: Any) -> Any:
    return [chunk async for chunk in chunks][-1]


def test_usage_and_timings_are_the_same_from_all_chats(llm: Mlxcel) -> None:
    async def ask() -> list[Any]:
        return [await llm.achat(CAPITAL), await drained(await llm.astream_chat(CAPITAL))]

    asked = [llm.chat(CAPITAL), list(llm.stream_chat(CAPITAL))[-1], *asyncio.run(ask())]

    assert "Paris" in asked[0].message.content
    assert 1 == len({response.message.content for response in asked})
    assert {True} == {"timings" in response.raw for response in asked}
    counts = [response.additional_kwargs for response in asked]
    assert counts == [counts[0]] * 4
    assert counts[0]["total_tokens"] == counts[0]["prompt_tokens"] + counts[0]["completion_tokens"]
    assert counts[0]["prompt_tokens"] == llm.count_message_tokens(CAPITAL)


def test_a_completion_goes_on_with_the_text(llm: Mlxcel) -> None:
    prompt = "Paris is the capital of France, and Rome is the capital of"
    whole = llm.complete(prompt, max_tokens=8)
    last = list(llm.stream_complete(prompt, max_tokens=8))[-1]

    assert "Italy" == whole.text.split(".")[0].strip()
    assert (whole.text, whole.additional_kwargs) == (last.text, last.additional_kwargs)


def test_the_metadata_holds_the_context_of_a_slot(llm: Mlxcel) -> None:
    metadata = llm.metadata

    assert metadata.context_window > 512
    assert 32 == metadata.num_output
    assert metadata.is_function_calling_model


def test_a_query_engine_answers_from_a_document(llm: Mlxcel) -> None:
    index = SummaryIndex.from_documents([Document(text="The meeting is on Tuesday in Oslo.")])

    assert "Oslo" in str(index.as_query_engine(llm=llm).query("Where is the meeting?"))


def leave_a_stream(llm: Mlxcel) -> Iterator[None]:
    chunks = llm.stream_chat(LONG, **ENDLESS)
    next(chunks)
    yield
    chunks.close()


def leave_a_loop(llm: Mlxcel) -> Iterator[None]:
    for _ in llm.stream_complete("One, two, three,", **ENDLESS):
        yield
        break


def leave_a_query(llm: Mlxcel) -> Iterator[None]:
    index = SummaryIndex.from_documents([Document(text="One, two, three, four, five.")])
    endless = llm.model_copy(update=ENDLESS)
    answer: Any = index.as_query_engine(llm=endless, streaming=True).query("Count on for ever.")
    for _ in answer.response_gen:
        yield
        break
    answer.response_gen.close()


@pytest.mark.parametrize("leave", [leave_a_stream, leave_a_loop, leave_a_query])
def test_leaving_a_stream_frees_the_slot(
    llm: Mlxcel, slots: Callable[[], int], leave: Callable[[Mlxcel], Iterator[None]]
) -> None:
    for _ in leave(llm):
        assert 1 == slots()

    assert within(FREED, slots, 0)


@pytest.mark.parametrize("way", ["achat", "astream_chat", "acomplete", "aclose", "break"])
def test_leaving_a_task_frees_the_slot(llm: Mlxcel, slots: Callable[[], int], way: str) -> None:
    async def leave() -> bool:
        if way in ("aclose", "break"):
            chunks = await llm.astream_chat(LONG, **ENDLESS)
            async for _ in chunks:
                break
            if way == "aclose":
                await chunks.aclose()
            del chunks
        else:
            given = LONG if "chat" in way else "One, two, three,"
            task = asyncio.ensure_future(begun(getattr(llm, way)(given, **ENDLESS)))
            assert await asyncio.to_thread(within, 20.0, slots, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return await asyncio.to_thread(within, FREED, slots, 0)

    async def begun(asked: Any) -> None:
        answer = await asked
        if way == "astream_chat":
            await drained(answer)

    assert asyncio.run(leave())


@pytest.mark.parametrize("name", ["achat", "astream_chat", "acomplete", "astream_complete"])
def test_no_method_blocks_the_event_loop(llm: Mlxcel, name: str) -> None:
    """The work of the loop's thread is measured: on a busy machine it may wait for its turn."""

    async def longest_stall() -> float:
        async def ask() -> None:
            answer = await getattr(llm, name)(CAPITAL if "chat" in name else "One, two,")
            if "stream" in name:
                await drained(answer)

        await ask()  # what is made once
        task = asyncio.ensure_future(ask())
        worst, last = 0.0, time.thread_time()
        while not task.done():
            await asyncio.sleep(0)
            worst, last = max(worst, time.thread_time() - last), time.thread_time()
        await task
        return worst

    assert asyncio.run(longest_stall()) < 0.01


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(llm: Mlxcel) -> None:
    with pytest.raises(openai.BadRequestError, match=r"\d+ tokens .*\d+.*ctx_size"):
        llm.chat([ChatMessage("word " * 20_000)])
