"""Both frameworks, each where it is installed, and a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.frameworks import FRAMEWORKS, Framework
from tests.fakes.server import FakeServer


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.__name__)
def framework(request: pytest.FixtureRequest) -> Framework:
    """LangChain and LlamaIndex, with one interface."""
    pytest.importorskip(request.param.package, reason="this framework is not installed")
    return request.param()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer("newest") as fake:
        yield fake
