"""Connections of synchronous clients: places that are given back, and forked children."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import httpx
import pytest

from mlxcel_integrations.protocol.timeouts import Deadline, Timeouts
from mlxcel_integrations.transport import sync_pool
from mlxcel_integrations.transport.endpoint import Endpoint
from mlxcel_integrations.transport.steps import Incoming
from mlxcel_integrations.transport.sync_pool import SyncPool

HERE = Endpoint.parse("http://localhost:1", None)


class Body(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"x"


class Transport(httpx.BaseTransport):
    """Answers each request with a body that was not read yet."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Body())


def send(pool: SyncPool) -> Incoming:
    """Return a response; no time is spent on waiting for a place."""
    request = httpx.Request("GET", "http://localhost:1", extensions={"timeout": {"pool": 0}})
    return pool.send(HERE, request, Deadline(Timeouts(), time.monotonic()))


def test_a_response_that_is_closed_twice_gives_one_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sync_pool, "MAX_CONNECTIONS", 1)
    pool = SyncPool(Transport())
    first = send(pool)
    with pytest.raises(httpx.PoolTimeout):
        send(pool)

    first.closing.close()
    first.closing.close()

    send(pool)
    with pytest.raises(httpx.PoolTimeout):
        send(pool)


def test_a_forked_child_leaves_the_connections_of_its_parent_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = SyncPool()
    used = pool.transport(HERE)

    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        pool.close()

    assert used is pool.transport(HERE)
    pool.close()
    assert used is not pool.transport(HERE)
    pool.close()
