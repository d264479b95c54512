"""A server that ends by itself, again and again, or that hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from langchain_core import exceptions

from mlxcel_integrations import (
    LLM,
    AsyncLLM,
    MlxcelServerError,
    MlxcelStreamError,
    MlxcelTimeoutError,
)
from mlxcel_integrations.langchain import ChatMlxcel
from tests.supervisor.conftest import Fake, runs, wait_until


def crash(llm: LLM) -> None:
    with pytest.raises(MlxcelStreamError, match="SIGKILL"):
        llm.chat("a b c d")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not runs(pid))
    # Threads of a process may still be dying when its first one is dead.
    time.sleep(0.05)


def hang(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


# --------------------------------------------------------------------------- restart=


def test_a_server_that_goes_on_crashing_is_given_up_with_its_history(fake: Fake) -> None:
    with LLM("m", binary=fake.binary(CRASH_AFTER="0"), restart=2) as llm:
        for _ in range(3):
            crash(llm)
        began = time.monotonic()
        with pytest.raises(MlxcelServerError) as caught:
            llm.chat("a b c d")

        assert time.monotonic() - began < 0.5
        assert 3 == len(fake.starts)
        assert "restart=" in str(caught.value)
        assert "SIGKILL" in str(caught.value)
        assert "listening on" in caught.value.stderr
    assert ([], []) == (fake.running, fake.directories)


def test_restarts_follow_each_other_more_and_more_slowly(fake: Fake) -> None:
    with LLM("m", binary=fake.binary(CRASH_AFTER="0"), restart=2) as llm:
        pauses = []
        for count in (1, 2, 3):
            crash(llm)
            assert count == len(fake.starts)
            pauses.append(time.monotonic())
    first, second = pauses[1] - pauses[0], pauses[2] - pauses[1]

    assert first < second


@pytest.mark.parametrize("inside", [False, True], ids=["between calls", "in a call"])
def test_without_restarts_an_end_is_told_and_final(inside: bool, fake: Fake) -> None:
    switches = {"CRASH_AFTER": "1"} if inside else {}
    with LLM("m", binary=fake.binary(**switches), restart=0) as llm:
        llm.chat("warm up")
        if inside:
            crash(llm)
        else:
            kill(fake.running[0])
        for _ in range(2):
            with pytest.raises(MlxcelServerError, match=r"SIGKILL.*memory"):
                llm.chat("hi")
    assert 1 == len(fake.starts)


async def test_without_restarts_an_end_is_final_for_async_clients_too(fake: Fake) -> None:
    async with AsyncLLM("m", binary=fake.binary(CRASH_AFTER="1"), restart=0) as llm:
        await llm.chat("warm up")
        with pytest.raises(MlxcelStreamError, match="SIGKILL"):
            await llm.chat("a b c d")
        with pytest.raises(MlxcelServerError, match="SIGKILL"):
            await llm.chat("hi")
    assert 1 == len(fake.starts)


def test_a_crash_while_loading_is_not_repeated_by_itself(fake: Fake) -> None:
    with pytest.raises(MlxcelServerError, match="Error: boom"):
        LLM("m", binary=fake.binary(FAIL="boom"), restart=5).chat("hi")

    assert 1 == len(fake.starts)


def test_all_who_ask_after_a_crash_get_one_new_server(fake: Fake) -> None:
    with LLM("m", binary=fake.binary(LOAD_SECONDS="0.2")) as llm:
        llm.chat("warm up")
        kill(fake.running[0])
        time.sleep(0.1)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(llm.chat, "abcdefgh"))

    assert [f"echo: {letter}" for letter in "abcdefgh"] == answers
    assert 2 == len(fake.starts)


# --------------------------------------------------------------------------- state


def test_the_state_can_be_read_all_along(fake: Fake) -> None:
    server: Any = fake.server(fake.binary())
    server.start()
    assert "ready" == server.state
    kill(server.pid)
    assert -signal.SIGKILL == server.wait(5)
    assert "failed" == server.state

    server.start()
    server.close()
    assert "stopped" == server.state


def test_a_start_that_fails_is_a_failed_state(fake: Fake) -> None:
    server: Any = fake.server(fake.binary(FAIL="boom"))

    with pytest.raises(MlxcelServerError):
        server.start()

    assert "failed" == server.state


# --------------------------------------------------------------------------- a server that hangs


def enter(binary: str, make: Any) -> None:
    with make(model="m", binary=binary):
        pass


def aenter(binary: str, make: Any) -> None:
    async def run() -> None:
        async with make(model="m", binary=binary):
            pass

    asyncio.run(run())


BLOCKS = [(enter, LLM), (aenter, AsyncLLM), (enter, ChatMlxcel), (aenter, ChatMlxcel)]


@pytest.mark.parametrize(("use", "make"), BLOCKS)
def test_a_block_that_could_not_be_entered_keeps_no_server_for_the_next(
    use: Callable[[str, Any], None], make: Any, fake: Fake
) -> None:
    """Its error, which a notebook or a loop of events keeps, refers to the object."""
    with pytest.raises(MlxcelServerError, match="no memory") as kept:
        use(fake.binary(FAIL="no memory"), make)
    # The same model with the same options shares the server of whoever still refers to it.
    use(fake.binary(), make)

    assert kept.value.__traceback__ is not None
    fake.wait_for_nothing()


def test_a_server_that_hangs_inside_an_answer_is_told_with_what_had_arrived(fake: Fake) -> None:
    binary = fake.binary(TOKEN_SECONDS="0.05")
    server = fake.server(binary, shutdown_grace=0.3).start()
    assert server.pid is not None
    with LLM(socket=server.socket, timeout=0.5) as llm:
        pieces = llm.chat_stream("a b c d e f g h i j k l m n o p")
        arrived = [next(pieces), next(pieces)]
        hang(server.pid)

        began = time.monotonic()
        with pytest.raises(MlxcelStreamError, match=r"silent for 0\.5 s") as caught:
            arrived.extend(pieces)

        assert 0.4 < time.monotonic() - began < 1.5
        assert "".join(arrived) == caught.value.partial
        assert server.poll() is None

    # A stopped process takes no SIGTERM: what remains is the end of the grace.
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 1.3


def test_a_managed_server_that_hangs_is_told_and_can_be_closed(fake: Fake) -> None:
    with LLM("m", binary=fake.binary(), timeout=0.5, max_retries=0, shutdown_grace=0.3) as llm:
        llm.chat("warm up")
        (pid,) = fake.running
        hang(pid)

        with pytest.raises(Exception, match=r"0\.5 s") as caught:
            llm.chat("hi")

        assert type(caught.value).__module__.split(".")[0] in ("openai", "mlxcel_integrations")
        assert 1 == len(fake.starts)
        began = time.monotonic()
    assert time.monotonic() - began < 1.5
    assert ([], []) == (fake.running, fake.directories)


# --------------------------------------------------------------------------- LangChain


@pytest.mark.parametrize(
    ("switches", "options", "own", "langchain"),
    [
        ({"FAIL": "no such model"}, {}, MlxcelServerError, exceptions.ModelConnectionError),
        (
            {"LOAD_SECONDS": "60"},
            {"startup_timeout": 0.5},
            MlxcelTimeoutError,
            exceptions.ModelTimeoutError,
        ),
    ],
    ids=["ends", "is late"],
)
async def test_a_start_that_fails_is_an_error_of_langchain_too(
    switches: dict[str, str],
    options: dict[str, Any],
    own: type[MlxcelServerError],
    langchain: type[Exception],
    fake: Fake,
) -> None:
    chat = ChatMlxcel(model="m", binary=fake.binary(**switches), **options)
    with pytest.raises(own) as caught:
        chat.invoke("hi")
    with pytest.raises(own) as caught_async:
        await chat.ainvoke("hi")

    for error in (caught.value, caught_async.value):
        assert isinstance(error, langchain)
        assert "mlxcel starting" in error.stderr
    chat.close()


def test_a_server_that_dies_before_its_answer_is_an_error_of_langchain_too(fake: Fake) -> None:
    with ChatMlxcel(model="m", binary=fake.binary()) as chat:
        chat.invoke("warm up")
        (pid,) = fake.running
        hang(pid)
        threading.Timer(0.2, lambda: os.kill(pid, signal.SIGKILL)).start()
        with pytest.raises(MlxcelServerError, match="ended during a request") as caught:
            chat.invoke("hi")

        assert isinstance(caught.value, exceptions.ModelConnectionError)
        assert "echo: again" == chat.invoke("again").text
