"""Start of what a ``with`` statement closes: if it fails, it leaves nothing open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

__all__ = ["aclosed_on_failure", "closed_on_failure"]


@contextmanager
def closed_on_failure(close: Callable[[], None]) -> Iterator[None]:
    """Close what fails to start, which ``with`` does not: it has not been entered.

    The error keeps the object alive, so that nobody else closes it.
    """
    try:
        yield
    except BaseException:
        close()
        raise


@asynccontextmanager
async def aclosed_on_failure(close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Close what fails to start; see ``closed_on_failure``."""
    try:
        yield
    except BaseException:
        await close()
        raise
