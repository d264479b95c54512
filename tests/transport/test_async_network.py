"""Unix sockets in event loops: a queue that is full, and a server that is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpcore
import pytest

from mlxcel_integrations.transport.async_network import AsyncBackend

BACKEND = AsyncBackend(httpcore.AnyIOBackend())


@pytest.fixture
def full(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket whose queue has no place for another connection."""
    waiting = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen(0)
        while True:
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            try:
                waiting[-1].connect(listener.getsockname())
            except BlockingIOError:
                break
        yield listener
    for each in waiting:
        each.close()


async def test_a_connection_waits_for_its_place_in_the_queue(full: socket.socket) -> None:
    connecting = asyncio.create_task(BACKEND.connect_unix_socket(full.getsockname(), 30))
    await asyncio.sleep(0.01)
    assert not connecting.done()

    full.accept()[0].close()

    stream = await connecting
    await stream.aclose()


async def test_a_queue_that_stays_full_is_told_as_a_timeout(full: socket.socket) -> None:
    with pytest.raises(httpcore.ConnectTimeout):
        await BACKEND.connect_unix_socket(full.getsockname(), 0.01)


async def test_a_wait_for_a_place_can_be_cancelled(full: socket.socket) -> None:
    connecting = asyncio.create_task(BACKEND.connect_unix_socket(full.getsockname(), 30))
    await asyncio.sleep(0.01)

    connecting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await connecting


async def test_a_request_to_a_server_that_is_gone_is_not_written(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        stream = await BACKEND.connect_unix_socket(listener.getsockname(), 30)
        listener.accept()[0].close()

        # The second one meets asyncio's own error, which has no number.
        for _ in range(2):
            with pytest.raises(httpcore.WriteError):
                await stream.write(b"x" * 1_000_000, 30)
        await stream.aclose()
