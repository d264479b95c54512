"""A synchronous call in a running event loop is warned of, where that stops something else."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.transport import blocked_loop
from tests.fakes.server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _not_warned_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_loop, "_warned", False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def files_warned(call: Callable[[], object]) -> list[str]:
    """Return the files in which a call is warned of."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        call()
    return [one.filename for one in warned]


def chat_in_a_loop(url: str, times: int) -> None:
    async def ask() -> None:
        for _ in range(times):
            LLM(base_url=url).chat("hi")

    asyncio.run(ask())


@pytest.mark.parametrize("times", [1, 3])
def test_the_caller_is_warned_once(server: FakeServer, times: int) -> None:
    assert [__file__] == files_warned(lambda: chat_in_a_loop(server.url, times))


def test_a_notebook_whose_loop_always_runs_is_not_warned(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)

    assert [] == files_warned(lambda: chat_in_a_loop(server.url, 1))


def test_a_call_outside_of_a_loop_is_not_warned_of(server: FakeServer) -> None:
    assert [] == files_warned(lambda: LLM(base_url=server.url).chat("hi"))


def test_a_call_in_a_thread_beside_a_loop_is_not_warned_of(server: FakeServer) -> None:
    async def ask() -> None:
        await asyncio.to_thread(LLM(base_url=server.url).chat, "hi")

    assert [] == files_warned(lambda: asyncio.run(ask()))
