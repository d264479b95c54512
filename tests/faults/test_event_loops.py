"""What streams do to the event loop that they share with others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlxcel_integrations import AsyncLLM
from mlxcel_integrations.transport.turns import DELTAS_PER_TURN, MAX_TURNS
from tests.fakes.server import FakeServer
from tests.fakes.wire import DONE, dumps, event
from tests.faults.raw_socket_server import HEAD, RawServer

TOKENS, STREAMS = 400, 40
ANSWER = event(dumps({"choices": [{"delta": {"content": "a"}}]})) * TOKENS + DONE


async def test_streams_whose_text_has_arrived_let_others_run() -> None:
    """Whatever waits for the loop gets it after a turn of a few streams, and not of all."""
    tokens = most = 0

    async def watch() -> None:
        nonlocal tokens
        while True:
            await asyncio.sleep(0)
            tokens = 0

    async def read(llm: AsyncLLM) -> int:
        nonlocal tokens, most
        count = 0
        async for _ in llm.chat_stream("hi"):
            count, tokens = count + 1, tokens + 1
            most = max(most, tokens)
        return count

    with RawServer(lambda _, connection: connection.sendall(HEAD + ANSWER)) as server:
        async with AsyncLLM(base_url=server.url, served_model="m") as llm:
            watching = asyncio.ensure_future(watch())
            counts = await asyncio.gather(*[read(llm) for _ in range(STREAMS)])
            watching.cancel()

    assert [TOKENS] * STREAMS == counts
    assert most <= 2 * MAX_TURNS * DELTAS_PER_TURN


async def test_a_read_that_is_cancelled_while_data_arrives_is_no_error_of_the_loop() -> None:
    """The streams of anyio set the result of a future that is cancelled."""
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        async with AsyncLLM(socket=f"{folder}/s", served_model="m") as llm:
            task = asyncio.ensure_future(llm.chat("hi"))
            connection, _ = await asyncio.to_thread(server.accept)
            with connection:
                await asyncio.to_thread(connection.recv, 65536)

                def cancel_and_answer() -> None:
                    # The loop looks at its sockets before it runs what is called soon.
                    loop.call_soon(task.cancel)
                    connection.sendall(HEAD)

                loop.call_soon(cancel_and_answer)
                with pytest.raises(asyncio.CancelledError):
                    await task

    assert [] == complaints


@contextlib.contextmanager
def silent_socket() -> Iterator[dict[str, Any]]:
    """The place of a server that answers nothing."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        yield {"socket": f"{folder}/s"}


@contextlib.contextmanager
def answering_host() -> Iterator[dict[str, Any]]:
    with FakeServer() as server:
        yield {"base_url": server.url}


@pytest.mark.parametrize("place", [silent_socket, answering_host])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loop_that_ends_right_after_its_requests_are_cancelled_leaves_nothing_open(
    loop: str,
    place: Callable[[], contextlib.AbstractContextManager[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It cancels what closes their connections, too, some of it before it has begun."""
    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    async def main(options: dict[str, Any], steps: int) -> None:
        llm = AsyncLLM(**options, served_model="fake-model", max_retries=0)
        tasks = [asyncio.ensure_future(llm.chat("hi")) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    gc.collect()
    with place() as options, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for steps in range(24):
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(main(options, steps))
            gc.collect()

    assert [] == [str(warning.message) for warning in warned]
    assert [] == [record.getMessage() for record in caplog.records if record.name == "asyncio"]
