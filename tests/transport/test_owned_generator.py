"""Generators that the event loop does not know; see also ``tests/left_streams.py``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from mlxcel_integrations.transport.owned_generator import OwnedGenerator
from tests.structure.imports import PACKAGE


class Numbers:
    """Generates numbers, and notes its end."""

    def __init__(self) -> None:
        self.ended = False

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            self.ended = True


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """The generators that a loop would be told of."""
    seen: list[Any] = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=seen.append)
    yield seen
    sys.set_asyncgen_hooks(*before)


FIRST_USES: dict[str, Callable[[AsyncGenerator[int, None]], Any]] = {
    "anext": anext,
    "asend": lambda generator: generator.asend(None),
    "athrow": lambda generator: generator.athrow(ValueError()),
    "aclose": lambda generator: generator.aclose(),
}


def step(awaitable: Any) -> None:
    with pytest.raises((StopIteration, ValueError)):
        awaitable.__await__().send(None)


@pytest.mark.parametrize("use", FIRST_USES)
def test_a_loop_is_not_told_of_it(told: list[Any], use: str) -> None:
    plain = Numbers().stream()
    step(FIRST_USES[use](plain))
    assert [plain] == told

    step(FIRST_USES[use](OwnedGenerator(Numbers().stream())))
    assert [plain] == told
    later = Numbers().stream()
    step(FIRST_USES[use](later))
    assert [plain, later] == told


def test_it_yields_what_the_generator_yields() -> None:
    async def read() -> list[int]:
        return [number async for number in OwnedGenerator(Numbers().stream())]

    assert [1, 2] == asyncio.run(read())


def test_its_context_closes_it() -> None:
    numbers = Numbers()

    async def leave() -> None:
        async with OwnedGenerator(numbers.stream()) as stream:
            await anext(stream)
            assert not numbers.ended
        assert numbers.ended

    asyncio.run(leave())


def test_without_a_reader_the_loop_closes_it() -> None:
    numbers = Numbers()

    async def forget() -> None:
        await anext(OwnedGenerator(numbers.stream()))
        await asyncio.sleep(0.01)
        assert numbers.ended

    asyncio.run(forget())


def test_whatever_the_package_closes_is_owned() -> None:
    """A generator that is read and closed by another one must not be known to the loop."""
    users = [path.name for path in PACKAGE.rglob("*.py") if "aclosing(" in path.read_text()]

    assert [] == users
