"""Streams with LlamaIndex's events, which free the server as soon as they are left."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar

__all__ = ["async_streams", "streams"]

T = TypeVar("T")
Events = Callable[[], Callable[..., Any]]
"""``llm_chat_callback`` or ``llm_completion_callback``."""


def streams(
    events: Events,
) -> Callable[[Callable[..., Generator[T, None, None]]], Callable[..., Generator[T, None, None]]]:
    """Make a method that yields one that also makes LlamaIndex's events.

    LlamaIndex's generator does not close the one that it reads. It leaves that to the count of
    references, which a handler holds up that keeps the exception by which a stream was left.
    """

    def decorate(
        method: Callable[..., Generator[T, None, None]],
    ) -> Callable[..., Generator[T, None, None]]:
        @functools.wraps(method)
        def stream(*args: Any, **kwargs: Any) -> Generator[T, None, None]:
            chunks = method(*args, **kwargs)
            return _both(events()(lambda *_, **__: chunks)(*args, **kwargs), chunks)

        return stream

    return decorate


def _both(
    outer: Generator[T, None, None], inner: Generator[T, None, None]
) -> Generator[T, None, None]:
    with contextlib.closing(inner):
        yield from outer


def async_streams(events: Events) -> Callable[[Callable[..., AsyncGenerator[T, None]]], Any]:
    """Make a method that yields a coroutine that returns the generator; see ``streams``."""

    def decorate(method: Callable[..., AsyncGenerator[T, None]]) -> Any:
        @functools.wraps(method)
        async def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[T, None]:
            chunks = method(*args, **kwargs)

            async def answer(*_: Any, **__: Any) -> AsyncGenerator[T, None]:
                return chunks

            return _async_both(await events()(answer)(*args, **kwargs), chunks)

        return stream

    return decorate


async def _async_both(
    outer: AsyncGenerator[T, None], inner: AsyncGenerator[T, None]
) -> AsyncGenerator[T, None]:
    async with contextlib.aclosing(inner), contextlib.aclosing(outer):
        async for chunk in outer:
            yield chunk
