"""A model on a scripted server; and what LlamaIndex needs where warnings are errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest

from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.server import FakeServer


@pytest.fixture(autouse=True)
def _no_event_loop_is_left(request: pytest.FixtureRequest) -> None:
    """Tell LlamaIndex that there is no event loop.

    Else its ``asyncio_run`` makes one where it finds none, and leaves it open.
    """
    if not inspect.iscoroutinefunction(request.function):
        asyncio.set_event_loop(None)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Mlxcel]:
    with Mlxcel(base_url=server.url) as model:
        yield model
