"""Each limit of time, and the error that names it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelStreamError
from mlxcel_integrations.transport import async_pool, sync_pool
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import dumps, event

pytestmark = pytest.mark.parametrize("place", ["tcp"], indirect=True)

COMMENT = b": still alive\n\n"


def token(text: str) -> bytes:
    return event(dumps({"choices": [{"index": 0, "delta": {"content": text}}]}))


END = event(dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))


def test_comments_keep_a_request_alive_while_its_prompt_is_read(
    connect: Any, server: FakeServer
) -> None:
    server.script(Reply.events([*[COMMENT] * 8, token("done"), END], delay=0.04))

    assert "done" == connect(timeout=0.2).chat("hi")


def test_comments_are_no_tokens(connect: Any, server: FakeServer) -> None:
    server.script(Reply.events([token("half"), *[COMMENT] * 15], delay=0.04))
    client = connect(timeout=30, token_timeout=0.2, max_retries=5)

    start = time.monotonic()
    with pytest.raises(MlxcelStreamError, match=r"no token came for 0.2 s \(token_timeout=\)") as e:
        client.chat("hi")
    assert 0.15 < time.monotonic() - start < 2
    assert ("half", 1) == (e.value.partial, len(server.posts))


def test_silence_after_a_token_is_limited_apart(connect: Any, server: FakeServer) -> None:
    server.script(Reply.events([token("half")], done=False, hold_open=True))

    with pytest.raises(MlxcelStreamError, match=r"0.1 s \(token_timeout=\)"):
        connect(timeout=30, token_timeout=0.1).chat("hi")


def test_an_answer_that_goes_on_and_on_is_ended(connect: Any, server: FakeServer) -> None:
    server.script(Reply.text("on and on " * 10, delay=0.02))

    with pytest.raises(
        MlxcelStreamError, match=r"it took longer than 0.3 s \(total_timeout=\)"
    ) as caught:
        connect(total_timeout=0.3).chat("hi")
    assert caught.value.partial.startswith("on and on")


def test_the_total_counts_from_the_request(connect: Any, server: FakeServer) -> None:
    server.route("/tokenize", Reply.hang())

    with pytest.raises(openai.APITimeoutError, match=r"0.1 s \(total_timeout=\)"):
        connect(total_timeout=0.1).tokenize("hi")


def test_a_slow_reader_is_not_a_slow_server(server: FakeServer) -> None:
    server.script(Reply.text("a b c"))

    texts = []
    with LLM(base_url=server.url, token_timeout=0.1) as llm:
        for text in llm.chat_stream("hi"):
            time.sleep(0.15)
            texts.append(text)
    assert "a b c" == "".join(texts)


def test_a_slow_reader_of_the_first_token_is_not_a_slow_server(server: FakeServer) -> None:
    server.script(Reply.events([token("a"), token("b"), END], delay=0.1))

    with LLM(base_url=server.url, token_timeout=0.3) as llm:
        stream = llm.chat_stream("hi")
        texts = [next(stream)]
        # The second token arrives meanwhile, but not yet the end.
        time.sleep(0.35)
        texts += stream
    assert ["a", "b"] == texts


async def test_a_slow_task_is_not_a_slow_server(server: FakeServer) -> None:
    server.script(Reply.text("a b c"))

    texts = []
    async with AsyncLLM(base_url=server.url, token_timeout=0.1) as llm:
        async for text in llm.chat_stream("hi"):
            await asyncio.sleep(0.15)
            texts.append(text)
    assert "a b c" == "".join(texts)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse at once")
@pytest.mark.parametrize("limit", ["timeout", "connect_timeout", "total_timeout"])
def test_a_server_that_takes_no_connection_is_given_up(limit: str, connect: Any) -> None:
    """It listens, but the queue of those who wait for it is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        client = connect(base_url=url, max_retries=0, **{limit: 0.2})

        with pytest.raises(
            openai.APIConnectionError, match=rf"connection within 0.2 s \({limit}=\)"
        ):
            client.models()


def test_a_request_says_that_all_connections_of_its_client_are_busy(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pool in (sync_pool, async_pool):
        monkeypatch.setattr(pool, "MAX_CONNECTIONS", 0)

    with pytest.raises(
        openai.APITimeoutError, match=r"connections to .* busy for 0.1 s \(timeout=\)"
    ):
        connect(timeout=0.1, max_retries=0).models()


def test_a_server_that_waits_for_plain_http_is_told_as_such(connect: Any) -> None:
    """It takes the first bytes of TLS for the beginning of a line, and waits for its end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(
            base_url=f"https://127.0.0.1:{silent.getsockname()[1]}",
            connect_timeout=0.2,
            max_retries=0,
        )

        with pytest.raises(openai.APIConnectionError) as raised:
            client.models()

    assert str(raised.value).endswith(
        "it accepted no secure connection within 0.2 s (connect_timeout=). Check that the server "
        "is running and listening there, and use http:// if it does not speak TLS."
    )
