"""A scripted server, and a chat model that talks to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[ChatMlxcel]:
    with ChatMlxcel(base_url=server.url) as model:
        yield model
