"""Lifecycle of clients and adapters: a ``with`` statement whose start fails leaves nothing open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

__all__ = ["aclosed_on_failure", "closed_on_failure"]


@contextmanager
def closed_on_failure(close: Callable[[], None]) -> Iterator[None]:
    """Close an object whose start fails: ``with`` only closes what it has entered.

    Nor is the object garbage-collected while the error exists, which refers to it.
    """
    try:
        yield
    except BaseException:
        close()
        raise


@asynccontextmanager
async def aclosed_on_failure(close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Close an object whose start fails; see ``closed_on_failure``."""
    try:
        yield
    except BaseException:
        await close()
        raise
