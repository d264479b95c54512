"""Vectors: what a scripted server was asked for, and what it must have answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.server import FakeServer
from tests.fakes.vectors import vector

__all__ = ["dot", "near", "sent"]


def sent(server: FakeServer) -> list[Any]:
    """Return the bodies of all requests for vectors."""
    return [seen.json for seen in server.requests if seen.path == "/v1/embeddings"]


def near(text: str, size: int = 8) -> Any:
    """Return what equals the vector of a text, as far as floats of 4 bytes can tell."""
    return pytest.approx(vector(text, size), abs=1e-7)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
