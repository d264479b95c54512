"""Streams that send LlamaIndex's events, and free the server as soon as they are left."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar

from ..transport.owned_generator import OwnedGenerator

__all__ = ["async_instrumented", "instrumented"]

T = TypeVar("T")
Callback = Callable[[], Callable[..., Any]]
"""``llm_chat_callback`` or ``llm_completion_callback``."""


def instrumented(
    callback: Callback,
) -> Callable[[Callable[..., Generator[T, None, None]]], Callable[..., Generator[T, None, None]]]:
    """Decorate a method that returns a generator, so that its streams send LlamaIndex's events.

    The generator of LlamaIndex's own decorator never closes the one it reads, but leaves that to
    reference counting. A handler that keeps the exception by which the stream was left would then
    keep the stream open.
    """

    def decorate(
        method: Callable[..., Generator[T, None, None]],
    ) -> Callable[..., Generator[T, None, None]]:
        @functools.wraps(method)
        def stream(*args: Any, **kwargs: Any) -> Generator[T, None, None]:
            made: list[Generator[T, None, None]] = []

            def answer(*_: Any, **__: Any) -> Generator[T, None, None]:
                made.append(method(*args, **kwargs))
                return made[0]

            outer = callback()(answer)(*args, **kwargs)
            return _closing(outer, *made)

        return stream

    return decorate


def _closing(
    outer: Generator[T, None, None], inner: Generator[T, None, None]
) -> Generator[T, None, None]:
    with contextlib.closing(inner):
        yield from outer


def async_instrumented(
    callback: Callback,
) -> Callable[[Callable[..., AsyncGenerator[T, None]]], Any]:
    """Decorate a method that returns an asynchronous generator; it becomes a coroutine function.

    See ``instrumented``.
    """

    def decorate(method: Callable[..., AsyncGenerator[T, None]]) -> Any:
        @functools.wraps(method)
        async def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[T, None]:
            made: list[OwnedGenerator[T]] = []

            async def answer(*_: Any, **__: Any) -> AsyncGenerator[T, None]:
                made.append(OwnedGenerator(method(*args, **kwargs)))
                return made[0]

            outer = OwnedGenerator(await callback()(answer)(*args, **kwargs))
            return _async_closing(outer, *made)

        return stream

    return decorate


async def _async_closing(
    outer: OwnedGenerator[T], inner: OwnedGenerator[T]
) -> AsyncGenerator[T, None]:
    async with inner, outer:
        async for chunk in outer:
            yield chunk
