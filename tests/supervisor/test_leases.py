"""One server for all who ask for the same; it ends with the last of them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError, MlxcelServerError, MlxcelStreamError
from mlxcel_integrations.secret import Secret
from mlxcel_integrations.supervisor.leases import lease

from .conftest import Fake, runs, wait_until


def test_two_objects_share_a_server_and_the_last_close_stops_it(fake: Fake) -> None:
    binary = fake.binary()
    with LLM("m", binary=binary) as first, LLM("m", binary=binary) as second:
        assert "echo: 1" == first.chat("1")
        first.close()
        assert "echo: 2" == second.chat("2")
        assert 1 == len(fake.running) == len(fake.starts)
    assert ([], []) == (fake.running, fake.directories)


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        ({}, True),
        ({"startup_timeout": 60, "restart": 0, "progress": False, "shutdown_grace": 1}, True),
        ({"share": False}, False),
        ({"model": "other"}, False),
        ({"api_key": Secret("k")}, False),
        ({"socket": "/tmp/x.sock"}, False),
        ({"ctx_size": 4096}, False),
    ],
)
def test_only_what_is_the_same_is_shared(other: dict[str, Any], shared: bool) -> None:
    common: dict[str, Any] = {"model": "m", "api_key": None, "socket": None}
    first, second = lease(**common), lease(**{**common, **other})

    assert shared == (first.server is second.server)
    first.release()
    second.release()


def test_many_threads_with_one_object_start_one_server(fake: Fake) -> None:
    with LLM("m", binary=fake.binary()) as llm, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: llm.chat(str(n)), range(32)))

    assert [f"echo: {n}" for n in range(32)] == answers
    assert 1 == len(fake.starts)


def test_a_closed_object_says_so(fake: Fake) -> None:
    llm = LLM("m", binary=fake.binary()).start()
    llm.close()
    llm.close()

    for use in (lambda: llm.chat("hi"), llm.start, llm.models):
        with pytest.raises(MlxcelError, match="'m' was closed: make a new object"):
            use()
    assert 1 == len(fake.starts)


def test_a_new_object_after_the_last_close_starts_a_new_server(fake: Fake) -> None:
    binary = fake.binary()
    for count in (1, 2):
        with LLM("m", binary=binary) as llm:
            assert "echo: hi" == llm.chat("hi")
        assert count == len(fake.starts)
        assert [] == fake.running


def test_the_server_ends_with_the_last_object_without_close(fake: Fake) -> None:
    binary = fake.binary()
    first = LLM("m", binary=binary).start()
    second = LLM("m", binary=binary)
    del first
    gc.collect()
    assert 1 == len(fake.running)

    del second
    gc.collect()

    fake.wait_for_nothing()


def test_a_start_that_fails_leaves_an_object_that_can_be_closed(fake: Fake) -> None:
    llm = LLM("m", binary=fake.binary(FAIL="boom"))

    for _ in range(2):
        with pytest.raises(MlxcelServerError, match="Error: boom"):
            llm.chat("hi")
    llm.close()
    assert ([], []) == (fake.running, fake.directories)


def fail_to_enter(binary: str) -> None:
    with pytest.raises(MlxcelServerError, match="boom"), LLM("m", binary=binary):
        pass


def fail_to_enter_in_async_code(binary: str) -> None:
    async def fail() -> None:
        with pytest.raises(MlxcelServerError, match="boom"):
            async with AsyncLLM("m", binary=binary):
                pass

    asyncio.run(fail())


@pytest.mark.parametrize("fail", [fail_to_enter, fail_to_enter_in_async_code])
def test_who_failed_to_start_it_keeps_no_server_of_others(
    fake: Fake, fail: Callable[[str], None]
) -> None:
    """The error is gone, and with it all that it held, without the help of the collector."""
    gc.disable()
    try:
        fail(fake.binary(FAIL="boom"))
        with LLM("m", binary=fake.binary()) as llm:
            assert "echo: hi" == llm.chat("hi")
        assert ([], []) == (fake.running, fake.directories)
    finally:
        gc.enable()


def test_killed_between_two_calls_it_is_started_again(fake: Fake) -> None:
    with LLM("m", binary=fake.binary()) as llm:
        assert "echo: 1" == llm.chat("1")
        (pid,) = fake.running
        os.kill(pid, signal.SIGKILL)
        # Threads of a process may still be dying when its first one is dead.
        assert wait_until(lambda: not runs(pid))
        time.sleep(0.05)

        assert "echo: 2" == llm.chat("2")
        assert (2, 1) == (len(fake.starts), len(fake.directories))


def test_killed_inside_an_answer_it_is_told_with_what_had_arrived(fake: Fake) -> None:
    with LLM("m", binary=fake.binary(CRASH_AFTER="1")) as llm:
        llm.chat("warm up")
        arrived: list[str] = []
        with pytest.raises(MlxcelStreamError, match=r"signal 9 \(SIGKILL") as caught:
            arrived.extend(llm.chat_stream("a b c d e f"))

        assert "".join(arrived) == caught.value.partial
        assert caught.value.partial.startswith("echo: a")
        assert "  | " in str(caught.value)
        assert "mlxcel: listening on" in caught.value.stderr
        assert "echo: again" == llm.chat("again")
    assert ([], []) == (fake.running, fake.directories)


def test_killed_before_an_answer_begins_it_is_told_with_what_it_had_printed(fake: Fake) -> None:
    with LLM("m", binary=fake.binary(), restart=0) as llm:
        llm.chat("warm up")
        (pid,) = fake.running
        os.kill(pid, signal.SIGSTOP)
        # Until then, a busy machine lets it answer.
        assert wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        threading.Timer(0.3, lambda: os.kill(pid, signal.SIGKILL)).start()
        with pytest.raises(MlxcelServerError, match=r"signal 9 \(SIGKILL") as caught:
            llm.chat("hold")

        assert -signal.SIGKILL == caught.value.returncode
        assert "mlxcel: listening on" in caught.value.stderr
        with pytest.raises(MlxcelServerError, match=r"has ended by itself.*restart="):
            llm.chat("again")
    assert 1 == len(fake.starts)
