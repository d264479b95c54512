"""What the markers of the suite mean."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a real ``mlxcel`` where none is named."""
    if os.environ.get("MLXCEL_BIN") and os.environ.get("MLXCEL_MODEL"):
        return
    skip = pytest.mark.skip(reason="needs MLXCEL_BIN and MLXCEL_MODEL")
    for item in items:
        if item.get_closest_marker("mlxcel"):
            item.add_marker(skip)
