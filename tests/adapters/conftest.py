"""Both frameworks, each where it is installed, and a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.frameworks import FRAMEWORKS, Framework
from tests.adapters.ways import Way
from tests.fakes.answers import Generation
from tests.fakes.server import FakeServer


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.__name__)
def framework(request: pytest.FixtureRequest) -> Framework:
    """LangChain and LlamaIndex, with one interface."""
    pytest.importorskip(request.param.package, reason="this framework is not installed")
    return request.param()


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    """A way to ask, if its framework is installed."""
    asking: Way = request.param
    pytest.importorskip(asking.framework.package, reason="this framework is not installed")
    return asking


@pytest.fixture
def generation() -> Generation:
    return "newest"


@pytest.fixture
def server(generation: Generation) -> Iterator[FakeServer]:
    with FakeServer(generation) as fake:
        yield fake
