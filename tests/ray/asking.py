"""A batch of rows that is asked without Ray, and what the server got of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.fakes.answers import Json

__all__ = ["asked", "pa", "question"]

pa = pytest.importorskip("pyarrow", reason="the extra [ray] is not installed")


def asked(
    batches: Callable[..., Coroutine[Any, Any, Any]], **columns: list[Any]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = asyncio.run(batches(pa.table(columns))).to_pylist()
    return rows


def question(body: Json) -> str:
    return str(body["messages"][-1]["content"])
