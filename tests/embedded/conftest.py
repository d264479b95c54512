from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for sockets, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as directory:
        yield Path(directory)
