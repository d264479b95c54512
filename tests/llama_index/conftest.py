"""What LlamaIndex itself needs in tests for which warnings are errors."""

from __future__ import annotations

import asyncio
import inspect

import pytest


@pytest.fixture(autouse=True)
def _no_event_loop_is_left(request: pytest.FixtureRequest) -> None:
    """Tell LlamaIndex that there is no event loop.

    Else its ``asyncio_run`` makes one where it finds none, and leaves it open.
    """
    if not inspect.iscoroutinefunction(request.function):
        asyncio.set_event_loop(None)
