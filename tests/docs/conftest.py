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
