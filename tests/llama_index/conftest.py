"""A model on a scripted server, and LlamaIndex as tests need it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import NoReturn

import llama_index.core
import pytest
from llama_index.core import Settings

from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.server import FakeServer

STORY = " ".join(f"The number of line {line} is {line * line}." for line in range(600))


@pytest.fixture(autouse=True)
def _no_event_loop_is_left(request: pytest.FixtureRequest) -> None:
    """Tell LlamaIndex that there is no event loop.

    Else its ``asyncio_run`` makes one where it finds none, and leaves it open.
    """
    if not inspect.iscoroutinefunction(request.function):
        asyncio.set_event_loop(None)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Mlxcel]:
    with Mlxcel(base_url=server.url) as model:
        yield model


def unwanted(text: str) -> NoReturn:
    raise AssertionError("the global tokenizer was asked")


@pytest.fixture
def no_global_tokenizer() -> Iterator[None]:
    """Make every use of the global tokenizer an error, and restore the global settings."""
    before = dict(vars(Settings))
    llama_index.core.global_tokenizer = unwanted
    yield
    vars(Settings).update(before)
    llama_index.core.global_tokenizer = None
