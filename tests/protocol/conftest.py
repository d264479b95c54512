"""Each test finds out for itself what types mean."""

from __future__ import annotations

import pytest

from mlxcel_integrations.structured import type_schema


@pytest.fixture(autouse=True)
def forget_types() -> None:
    """Nothing is answered from what an earlier test has put into a cache."""
    for value in vars(type_schema).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
