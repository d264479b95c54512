"""One scenario, four ways: `LLM` and `AsyncLLM`, over TCP and a Unix socket."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer


class SyncClient:
    """An `LLM` whose streams are collected in a list."""

    def __init__(self, **options: Any) -> None:
        self.llm = LLM(**options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.llm, name)
        return collecting(value) if callable(value) else value

    def shut_down(self) -> None:
        self.llm.close()


class AsyncClient:
    """An `AsyncLLM` with its own event loop, and the interface of a `SyncClient`."""

    def __init__(self, **options: Any) -> None:
        self.llm = AsyncLLM(**options)
        self.runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.llm, name)
        if inspect.isawaitable(value):
            return self.runner.run(awaited(value))
        return lambda *args, **options: self.runner.run(awaited(value(*args, **options)))

    def shut_down(self) -> None:
        self.runner.run(self.llm.close())
        self.runner.close()


def collecting(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        result = method(*args, **options)
        return list(result) if isinstance(result, Iterator) else result

    return call


async def awaited(value: Any) -> Any:
    if isinstance(value, AsyncIterator):
        return [item async for item in value]
    return await value


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLXCEL_BASE_URL", "MLXCEL_SOCKET", "MLXCEL_MODEL", "MLXCEL_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket, of which macOS allows 104 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="mlxcel-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def generation() -> Generation:
    return "newest"


@pytest.fixture(params=["tcp", "unix"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(generation: Generation, place: str, short_path: Path) -> Iterator[FakeServer]:
    path = short_path / "x.sock" if place == "unix" else None
    with FakeServer(generation, socket=path) as fake:
        yield fake


@pytest.fixture
def connect(kind: str, server: FakeServer) -> Iterator[Callable[..., Any]]:
    """Makes clients of the server, or of the one that the options name."""
    clients: list[SyncClient | AsyncClient] = []

    def make(**options: Any) -> SyncClient | AsyncClient:
        if options.keys().isdisjoint({"base_url", "socket", "transport"}):
            options["base_url"] = server.url
        clients.append(SyncClient(**options) if kind == "sync" else AsyncClient(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.shut_down()


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    return connect()
