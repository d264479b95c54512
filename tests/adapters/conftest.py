"""Both frameworks, each where it is installed."""

from __future__ import annotations

import pytest

from tests.adapters.frameworks import FRAMEWORKS, Framework


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.__name__)
def framework(request: pytest.FixtureRequest) -> Framework:
    """LangChain and LlamaIndex, with one interface."""
    pytest.importorskip(request.param.package, reason="this framework is not installed")
    return request.param()
