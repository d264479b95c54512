"""Asynchronous generators that only their reader closes, not the event loop as well."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["OwnedGenerator"]

T = TypeVar("T")
R = TypeVar("R")


class OwnedGenerator(AsyncGenerator[T, None]):
    """An asynchronous generator that its reader closes: ``async with OwnedGenerator(...) as``.

    At its end, an event loop closes all generators that it knows, at once. If one of them closes
    another meanwhile, as ``contextlib.aclosing`` does, one of the two fails: "asynchronous
    generator is already running", which the loop logs. The loop does not know this one
    (``firstiter`` of ``sys.set_asyncgen_hooks``), and closes it only if it is garbage-collected.

    Args:
        generator: The generator, which has not been read yet.
    """

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __anext__(self) -> Coroutine[Any, Any, T]:
        """Return what the generator yields next, to be awaited."""
        return _unknown_to_the_loop(self._generator.__anext__)

    def asend(self, value: None) -> Coroutine[Any, Any, T]:
        """Return what the generator yields next, to be awaited."""
        return _unknown_to_the_loop(self._generator.asend, value)

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        """Raise an error where the generator is, and return what it yields then."""
        return _unknown_to_the_loop(self._generator.athrow, *error)

    def aclose(self) -> Coroutine[Any, Any, None]:
        """End the generator, and run what it does at its end."""
        return _unknown_to_the_loop(self._generator.aclose)


def _unknown_to_the_loop(
    method: Callable[..., Coroutine[Any, Any, R]], *args: Any
) -> Coroutine[Any, Any, R]:
    """Call a method of a generator without registering the generator with the loop."""
    tell = sys.get_asyncgen_hooks().firstiter
    sys.set_asyncgen_hooks(firstiter=None)
    try:
        return method(*args)
    finally:
        sys.set_asyncgen_hooks(firstiter=tell)
