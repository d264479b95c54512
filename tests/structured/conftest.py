"""Empty caches of schemas for each test."""

from __future__ import annotations

import pytest

from mlxcel_integrations.structured import type_schema


@pytest.fixture(autouse=True)
def forget_types() -> None:
    """Empty the caches, so that no test finds the schemas of an earlier one."""
    for value in vars(type_schema).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
