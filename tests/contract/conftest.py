"""Each test of this folder states a fact about servers, and asks all of them.

``server`` is in turn the scripted server in both of its generations, the embedded engine, and a
real mlxcel where one is named. What llama.cpp does otherwise stands beside what mlxcel does, in
the same test. ``scripted`` is only the scripted server, for states into which no test can bring a
real one: a full queue, a failing generation, a model that thinks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from mlxcel_integrations.embedded import BUILT_IN_EMBEDDER

from . import servers
from .servers import Server

KINDS = [
    pytest.param("v0.4.2"),
    pytest.param("newest"),
    pytest.param("embedded", marks=pytest.mark.engine),
    pytest.param("mlxcel", marks=pytest.mark.mlxcel),
]


@pytest.fixture(scope="package")
def running() -> Iterator[Callable[[str], Server]]:
    """Starts each kind of server when it is first asked for."""
    with ExitStack() as stack:
        started: dict[str, Server] = {}

        def start(kind: str) -> Server:
            if kind not in started:
                starts = {
                    "embedded": servers.embedded,
                    "embedder": lambda: servers.embedded(BUILT_IN_EMBEDDER),
                    "mlxcel": servers.real,
                }
                make = starts.get(kind) or (lambda: servers.scripted(kind))
                started[kind] = stack.enter_context(make())
            return started[kind]

        yield start


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, running: Callable[[str], Server]) -> Server:
    return running(request.param)


@pytest.fixture(params=["v0.4.2", "newest"])
def scripted(request: pytest.FixtureRequest) -> Iterator[Server]:
    with servers.scripted(request.param) as server:
        yield server
