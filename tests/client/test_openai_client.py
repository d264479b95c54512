"""The `openai` client for the same server."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.server import FakeServer, Reply

MESSAGES: Any = [{"role": "user", "content": "hi there"}]
BOTH = pytest.mark.parametrize("generation", ["v0.4.2", "newest"])


@BOTH
def test_the_client_reaches_the_server(server: FakeServer) -> None:
    server.api_key = "right"
    with LLM(base_url=server.url, api_key="right") as llm:
        client = llm.openai_client
        listed = [model.id for model in client.models.list()]
        answer = client.chat.completions.create(model="m", messages=MESSAGES)
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in stream]

        assert client is llm.openai_client
    assert ["fake-model"] == listed
    assert "echo: hi there" == answer.choices[0].message.content
    assert ["echo:", " hi", " there"] == [piece for piece in pieces if piece]


@BOTH
async def test_the_asynchronous_client_reaches_the_server(server: FakeServer) -> None:
    server.api_key = "right"
    async with AsyncLLM(base_url=server.url, api_key="right") as llm:
        client = llm.openai_client
        listed = [model.id async for model in client.models.list()]
        answer = await client.chat.completions.create(model="m", messages=MESSAGES)
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        pieces = [chunk.choices[0].delta.content async for chunk in stream]

        assert client is llm.openai_client
    assert ["fake-model"] == listed
    assert "echo: hi there" == answer.choices[0].message.content
    assert ["echo:", " hi", " there"] == [piece for piece in pieces if piece]


def test_each_event_loop_has_a_client_of_its_own(server: FakeServer) -> None:
    llm = AsyncLLM(base_url=server.url)

    async def listed() -> list[str]:
        return [model.id async for model in llm.openai_client.models.list()]

    assert [["fake-model"]] * 3 == [asyncio.run(listed()) for _ in range(3)]


def test_it_does_not_repeat_what_may_have_begun(server: FakeServer) -> None:
    server.script(Reply.error(500, "boom", "server_error"))
    with LLM(base_url=server.url) as llm, pytest.raises(openai.InternalServerError, match="boom"):
        llm.openai_client.chat.completions.create(model="m", messages=MESSAGES)

    assert 1 == len(server.posts)


def test_it_uses_no_proxy_for_local_servers(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with LLM(base_url=server.url) as llm:
        assert ["fake-model"] == [model.id for model in llm.openai_client.models.list()]


@pytest.mark.parametrize("place", ["tcp"], indirect=True)
def test_it_has_the_patience_of_its_owner(server: FakeServer) -> None:
    server.script(Reply.hang())
    with LLM(base_url=server.url, timeout=0.1) as llm, pytest.raises(openai.APITimeoutError):
        llm.openai_client.chat.completions.create(model="m", messages=MESSAGES)


def test_it_shows_no_key(server: FakeServer) -> None:
    with LLM(base_url=server.url, api_key="key-5e0b") as llm:
        client = llm.openai_client

        assert "key-5e0b" not in repr(client) + repr(llm)
