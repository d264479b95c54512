"""Bodies that have no end: of errors and of JSON only so much is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError

PIECE = b"x" * 64 * 1024


class Endless(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body without an end, which counts its pieces."""

    def __init__(self) -> None:
        self.pieces = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.pieces += 1
            yield PIECE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    def __init__(self, status: int, body: Endless) -> None:
        self.status, self.body = status, body

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, stream=self.body)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, stream=self.body)


def sync_models(transport: Transport) -> Any:
    return LLM(transport=transport, max_retries=0).models()


def async_models(transport: Transport) -> Any:
    return asyncio.run(AsyncLLM(transport=transport, max_retries=0).models())


@pytest.fixture(params=[sync_models, async_models])
def models(request: pytest.FixtureRequest) -> Callable[[Transport], Any]:
    ask: Callable[[Transport], Any] = request.param
    return ask


def test_of_an_error_the_beginning_is_read(models: Callable[[Transport], Any]) -> None:
    body = Endless()

    with pytest.raises(openai.InternalServerError) as caught:
        models(Transport(500, body))

    assert len(str(caught.value)) < 5000
    assert body.pieces <= 2
    assert body.closed


def test_json_that_is_too_large_is_refused(models: Callable[[Transport], Any]) -> None:
    body = Endless()

    with pytest.raises(MlxcelError, match=r"/v1/models returned more than 67,108,864 bytes"):
        models(Transport(200, body))

    assert body.pieces <= 1025
    assert body.closed
