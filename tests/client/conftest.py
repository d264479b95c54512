"""One scenario, four ways: `LLM` and `AsyncLLM`, over TCP and a Unix socket."""

from __future__ import annotations

import asyncio
import inspect
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer

BY_TURNS = (
    *("test_classify", "test_decide", "test_requests", "test_stop", "test_strict_roles"),
    *("test_structured", "test_structured_attempts", "test_structured_endings"),
    *("test_tokens", "test_vectors", "test_warm"),
)
"""Files about what is asked and how answers are read, which `operations` decides for all ways.

Each of their scenarios goes two ways, so that each client and each kind of address has it once. How
requests travel is in the other files, in all four ways.
"""


# Before pytest looks at the parameters of the two fixtures.
@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take two ways of four where the way does not matter."""
    if not {"shell", "place"} <= {*metafunc.fixturenames}:
        return
    marks = [str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize")]
    chosen = any(re.search(r"\b(shell|place)\b", mark) for mark in marks)
    if metafunc.module.__name__.endswith(BY_TURNS) and not chosen:
        ways = [("sync", "tcp"), ("async", "unix")]
        mark = pytest.mark.parametrize(("shell", "place"), ways, indirect=True)
        metafunc.definition.add_marker(mark)


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
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(generation: Generation, place: str, short_path: Path) -> Iterator[FakeServer]:
    path = short_path / "x.sock" if place == "unix" else None
    with FakeServer(generation, socket=path) as fake:
        yield fake


@pytest.fixture
def connect(shell: str, server: FakeServer) -> Iterator[Callable[..., Any]]:
    """Makes clients of the server, or of the one that the options name."""
    clients: list[SyncClient | AsyncClient] = []

    def make(**options: Any) -> SyncClient | AsyncClient:
        if options.keys().isdisjoint({"base_url", "socket", "transport"}):
            options["base_url"] = server.url
        clients.append(SyncClient(**options) if shell == "sync" else AsyncClient(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.shut_down()


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    return connect()
