"""The server of all examples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlxcel_integrations import LLM


@pytest.fixture(scope="package")
def engine() -> Iterator[None]:
    """Keep the one embedded server that all examples share."""
    with LLM(model="embedded"):
        yield


@pytest.fixture(scope="package", autouse=True)
def quiet_ray() -> Iterator[None]:
    """Keep Ray from telling about itself, and from leaving a token in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield
