"""Leaving an asynchronous stream is silent, in every event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from mlxcel_integrations import AsyncLLM
from tests.fakes.server import FakeServer
from tests.left_streams import LOOPS, WAYS, Way, leave_in_a_loop, long_answer

pytestmark = pytest.mark.parametrize("place", ["tcp"], indirect=True)


def chat(url: str) -> AsyncIterator[Any]:
    return AsyncLLM(base_url=url).chat_stream("x")


def objects(url: str) -> AsyncIterator[Any]:
    return AsyncLLM(base_url=url).chat_stream("x", schema={"type": "object"})


async def a_generator_of_the_user(url: str) -> AsyncGenerator[Any, None]:
    async with AsyncLLM(base_url=url) as llm:
        async for piece in llm.chat_stream("x"):
            yield piece


@pytest.mark.parametrize("stream", [chat, objects, a_generator_of_the_user])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loop", LOOPS)
def test_leaving_a_stream_is_silent(
    server: FakeServer, caplog: pytest.LogCaptureFixture, loop: str, way: Way, stream: Any
) -> None:
    server.script(long_answer('{"text": "'))

    async def opened() -> AsyncIterator[Any]:
        return stream(server.url)

    leave_in_a_loop(loop, way, opened, server, caplog)
