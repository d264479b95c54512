"""Errors inside a block, close at every moment, and close while somebody reads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mlxcel_integrations import (
    LLM,
    AsyncLLM,
    ManagedServer,
    MlxcelError,
    MlxcelServerError,
    MlxcelStreamError,
)
from mlxcel_integrations.langchain import ChatMlxcel
from tests.supervisor.conftest import Fake

KINDS: dict[str, Callable[[str], Any]] = {
    "ManagedServer": lambda binary: ManagedServer("m", binary=binary),
    "LLM": lambda binary: LLM("m", binary=binary),
    "ChatMlxcel": lambda binary: ChatMlxcel(model="m", binary=binary),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_error = pytest.mark.parametrize(
    "error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr
)


# --------------------------------------------------------------------------- errors in a block


@each_error
@each_kind
def test_an_error_in_a_block_is_kept_and_the_server_ends(
    kind: str, error: BaseException, fake: Fake
) -> None:
    def use() -> None:
        with KINDS[kind](fake.binary()):
            assert 1 == len(fake.running)
            raise error

    with pytest.raises(type(error)) as caught:
        use()

    assert error is caught.value
    assert error.__context__ is None
    assert ([], []) == (fake.running, fake.directories)


@pytest.mark.parametrize("kind", ["AsyncLLM", "ChatMlxcel"])
@pytest.mark.parametrize("error", [ValueError("mine"), asyncio.CancelledError()], ids=repr)
async def test_an_error_in_an_async_block_is_kept_and_the_server_ends(
    kind: str, error: BaseException, fake: Fake
) -> None:
    kinds = {**KINDS, "AsyncLLM": lambda binary: AsyncLLM("m", binary=binary)}

    async def use() -> None:
        async with kinds[kind](fake.binary()):
            assert 1 == len(fake.running)
            raise error

    with pytest.raises(type(error)) as caught:
        await use()

    assert error is caught.value
    assert ([], []) == (fake.running, fake.directories)


def test_an_error_while_an_answer_is_read_is_kept_and_the_server_ends(fake: Fake) -> None:
    def use() -> None:
        with LLM("m", binary=fake.binary()) as llm:
            for _ in llm.chat_stream("a b c d"):
                _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        use()

    assert ([], []) == (fake.running, fake.directories)


# --------------------------------------------------------------------------- close at any moment


@each_kind
def test_close_before_the_start_runs_nothing(kind: str, fake: Fake) -> None:
    model = KINDS[kind](fake.binary())

    model.close()
    model.close()

    assert [] == fake.starts


@pytest.mark.parametrize("kind", ["LLM", "ChatMlxcel"])
@pytest.mark.parametrize("started", [False, True])
def test_a_start_after_close_is_refused(kind: str, started: bool, fake: Fake) -> None:
    model = KINDS[kind](fake.binary())
    if started:
        model.start()
    model.close()

    with pytest.raises(MlxcelError, match="'m' was closed: make a new object"):
        model.start()
    assert started == len(fake.starts)


async def test_an_async_start_after_close_is_refused(fake: Fake) -> None:
    llm = AsyncLLM("m", binary=fake.binary())
    await llm.close()
    await llm.close()

    with pytest.raises(MlxcelError, match="'m' was closed: make a new object"):
        await llm.start()
    assert [] == fake.starts


@each_kind
def test_close_from_another_thread_ends_a_start(kind: str, fake: Fake) -> None:
    model = KINDS[kind](fake.binary(LOAD_SECONDS="60"))
    with ThreadPoolExecutor(1) as threads:
        start = threads.submit(model.start)
        fake.wait_for_start()

        began = time.monotonic()
        model.close()

        with pytest.raises(MlxcelServerError, match=r"cancelled|closed"):
            start.result(1)
        assert time.monotonic() - began < 1
    fake.wait_for_nothing()


async def test_close_from_another_task_ends_a_start(fake: Fake) -> None:
    llm = AsyncLLM("m", binary=fake.binary(LOAD_SECONDS="60"))
    start = asyncio.create_task(llm.start())
    await asyncio.to_thread(fake.wait_for_start)

    await asyncio.wait_for(llm.close(), 1)

    with pytest.raises(MlxcelServerError, match=r"cancelled|closed"):
        await asyncio.wait_for(start, 1)
    await asyncio.to_thread(fake.wait_for_nothing)


# --------------------------------------------------------------------------- close inside a stream


def closed_after_the_first_piece(
    llm: LLM, closes: Callable[[], None], text: str = "a b c d"
) -> tuple[str, float, list[str]]:
    """Close in another thread once an answer has begun.

    Returns:
        What had arrived, seconds from the close to the end of the stream, and what the error says
        and keeps; nothing if there is none.
    """
    arrived: list[str] = []
    first = threading.Event()
    told: list[str] = []

    def read() -> float:
        try:
            for piece in llm.chat_stream(text):
                arrived.append(piece)
                first.set()
        except MlxcelStreamError as error:
            told.extend([str(error), error.partial])
        return time.monotonic()

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read)
        assert first.wait(10)
        began = time.monotonic()
        closes()
        ended = reader.result(20)
    return "".join(arrived), ended - began, told


def test_close_from_another_thread_ends_a_stream_at_once(fake: Fake) -> None:
    llm = LLM("m", binary=fake.binary(TOKEN_SECONDS="1")).start()

    arrived, seconds, told = closed_after_the_first_piece(llm, llm.close)

    message, partial = told
    assert "closed" in message
    assert arrived == partial
    # 100 ms where nothing else runs.
    assert seconds < 0.5
    assert ([], []) == (fake.running, fake.directories)


async def test_close_from_another_task_ends_a_stream_at_once(fake: Fake) -> None:
    llm = await AsyncLLM("m", binary=fake.binary(TOKEN_SECONDS="1")).start()
    pieces = llm.chat_stream("a b c d")
    first = await anext(pieces)

    rest = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await llm.close()

    with pytest.raises(MlxcelStreamError, match="closed") as caught:
        await rest
    assert time.monotonic() - began < 0.5
    assert first == caught.value.partial
    await asyncio.to_thread(fake.wait_for_nothing)


def test_one_that_closes_does_not_cut_the_answer_of_another(fake: Fake) -> None:
    binary = fake.binary(TOKEN_SECONDS="0.1")
    with LLM("m", binary=binary) as llm, LLM("m", binary=binary) as other:
        arrived, _, told = closed_after_the_first_piece(llm, other.close)

        assert ("echo: a b c d", []) == (arrived, told)
        assert 1 == len(fake.running) == len(fake.starts)
    assert ([], []) == (fake.running, fake.directories)
