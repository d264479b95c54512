from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server whose vectors have 8 numbers and are near to each other for equal texts only."""
    models = [{"id": "embedder", "capabilities": ["embedding"]}]
    with FakeServer(models=models) as running:
        yield running
