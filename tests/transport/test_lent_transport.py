"""Transports of the user below the clients of ``openai``."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.server import FakeServer, Reply

MESSAGES: Any = [{"role": "user", "content": "hi"}]
COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    ],
}


class Counting(httpx.HTTPTransport):
    """A real transport that counts requests, and notes that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx.Request] = []
        self.closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return super().handle_request(request)

    def close(self) -> None:
        self.closed = True
        super().close()


class AsyncCounting(httpx.AsyncHTTPTransport):
    """Its asynchronous twin."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx.Request] = []
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await super().handle_async_request(request)

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


def completion(request: httpx.Request) -> httpx.Response:
    """Answer as a server would, and remember the key."""
    return httpx.Response(200, json=COMPLETION, headers={"x-key": request.headers["authorization"]})


def test_the_client_uses_the_transport_of_its_owner_and_leaves_it_open() -> None:
    with FakeServer("newest") as server, Counting() as transport:
        with LLM(base_url=server.url, transport=transport, api_key="k") as llm:
            client = llm.openai_client
            answer = client.chat.completions.create(model="m", messages=MESSAGES)
            stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            pieces = [chunk.choices[0].delta.content for chunk in stream]

        assert "echo: hi" == answer.choices[0].message.content
        assert ["echo:", " hi"] == [piece for piece in pieces if piece]
        assert 2 == len(transport.requests) == len(server.requests)
        assert not transport.closed


async def test_so_does_the_asynchronous_client() -> None:
    with FakeServer("newest") as server:
        async with AsyncCounting() as transport:
            async with AsyncLLM(base_url=server.url, transport=transport) as llm:
                client = llm.openai_client
                answer = await client.chat.completions.create(model="m", messages=MESSAGES)
                stream = await client.chat.completions.create(
                    model="m", messages=MESSAGES, stream=True
                )
                pieces = [chunk.choices[0].delta.content async for chunk in stream]

            assert "echo: hi" == answer.choices[0].message.content
            assert ["echo:", " hi"] == [piece for piece in pieces if piece]
            assert 2 == len(transport.requests)
            assert not transport.closed


def test_nothing_goes_to_the_network_with_a_transport_for_tests() -> None:
    """Without an address, a key would go to a port of this machine."""
    transport = httpx.MockTransport(completion)
    with LLM(transport=transport, api_key="k") as llm:
        answer = llm.openai_client.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES
        )
    assert "Bearer k" == answer.headers["x-key"]
    assert "ok" == answer.parse().choices[0].message.content

    async def ask() -> Any:
        async with AsyncLLM(transport=transport, api_key="k") as llm:
            return await llm.openai_client.chat.completions.create(model="m", messages=MESSAGES)

    assert "ok" == asyncio.run(ask()).choices[0].message.content


def test_errors_of_the_server_and_of_the_transport_are_those_of_openai() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    with FakeServer("newest") as server, httpx.HTTPTransport() as transport:
        server.script(Reply.error(400, "bad"))
        llm = LLM(base_url=server.url, transport=transport)
        with llm, pytest.raises(openai.BadRequestError, match="bad"):
            llm.openai_client.chat.completions.create(model="m", messages=MESSAGES)
    with LLM(transport=httpx.MockTransport(fail)) as llm, pytest.raises(openai.APIConnectionError):
        llm.openai_client.chat.completions.create(model="m", messages=MESSAGES)
