"""Connections in event loops: full queues, servers that are gone, hosts with many addresses."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from weakref import WeakSet

import httpcore
import pytest

from mlxcel_integrations.transport.async_network import AsyncBackend

BACKEND = AsyncBackend(WeakSet())


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


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_request_to_a_server_that_is_gone_is_not_written(loop: str, tmp_path: Path) -> None:
    async def main(listener: socket.socket) -> None:
        stream = await BACKEND.connect_unix_socket(listener.getsockname(), 30)
        listener.accept()[0].close()

        # The later ones meet the loop's own errors, which have no number.
        for _ in range(3):
            with pytest.raises(httpcore.WriteError):
                await stream.write(b"x" * 1_000_000, 30)
            await asyncio.sleep(0)
        await stream.aclose()

    with socket.socket(socket.AF_UNIX) as listener, _runner(loop) as runner:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        runner.run(main(listener))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_an_answer_that_was_sent_before_the_connection_broke_is_read(
    family: socket.AddressFamily, loop: str, tmp_path: Path
) -> None:
    """Its server has not read all of the request: closing the connection breaks it."""

    async def main(listener: socket.socket) -> None:
        place = listener.getsockname()
        if family is socket.AF_UNIX:
            stream = await BACKEND.connect_unix_socket(place, 30)
        else:
            stream = await BACKEND.connect_tcp(*place, 30)
        await stream.write(b"a request", 30)
        with listener.accept()[0] as connection:
            connection.recv(1)
            connection.sendall(b"the answer")
        # The loop sees both at once.
        time.sleep(0.01)  # noqa: ASYNC251
        await asyncio.sleep(0.01)

        assert b"the answer" == await stream.read(100, 30)
        with pytest.raises(httpcore.ReadError):
            await stream.read(100, 30)
        await stream.aclose()

    with socket.socket(family) as listener, _runner(loop) as runner:
        listener.bind(str(tmp_path / "x.sock") if family is socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen()
        runner.run(main(listener))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_connection_on_which_more_arrives_than_was_asked_for_is_not_used_again(loop: str) -> None:
    """Its bytes, such as a late answer of a proxy, would be taken for the next answer."""

    async def main(listener: socket.socket) -> None:
        stream = await BACKEND.connect_tcp(*listener.getsockname(), 30)
        with listener.accept()[0] as connection:
            connection.sendall(b"the answer")
            assert b"the answer" == await stream.read(100, 30)
            assert not stream.get_extra_info("is_readable")

            connection.sendall(b"another one")
            # The loop takes it from the system.
            await asyncio.sleep(0.01)
            assert stream.get_extra_info("is_readable")
        await stream.aclose()

    with socket.create_server(("127.0.0.1", 0)) as listener, _runner(loop) as runner:
        runner.run(main(listener))


async def test_the_next_address_of_a_host_is_used_when_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [(2, 1, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        stream = await BACKEND.connect_tcp("models.invalid", port, 30)

        assert server.getsockname() == stream.get_extra_info("peername")
        await stream.aclose()


async def test_only_an_address_that_is_silent_is_tried_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    found = [(2, 1, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    tried: list[str] = []

    async def connect(_: object, host: str, port: int) -> NoReturn:
        tried.append(host)
        raise TimeoutError if host == "192.0.2.2" else ConnectionRefusedError

    monkeypatch.setattr(BACKEND, "_open_stream", connect)
    with pytest.raises(httpcore.ConnectTimeout):
        await BACKEND.connect_tcp("models.invalid", 80, 30)

    assert [*addresses, "192.0.2.2"] == tried


async def test_a_host_of_which_all_addresses_refuse_is_told_as_the_system_tells_it() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(httpcore.ConnectError) as caught:
            await BACKEND.connect_tcp("localhost", closed.getsockname()[1], 30)

    assert isinstance(caught.value.__context__, ConnectionRefusedError)


def _runner(loop: str) -> asyncio.Runner:
    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    return asyncio.Runner(loop_factory=factory)


@pytest.mark.parametrize(
    ("said", "seconds", "expected"),
    [(b"no TLS here", 30, httpcore.ConnectError), (b"", 0.05, httpcore.ConnectTimeout)],
    ids=["another protocol", "silence"],
)
async def test_a_connection_that_cannot_be_encrypted_is_closed(
    said: bytes, seconds: float, expected: type[Exception], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        stream = await BACKEND.connect_unix_socket(listener.getsockname(), 30)
        other, _ = listener.accept()
        with other:
            other.sendall(said)

            with pytest.raises(expected):
                await stream.start_tls(ssl.create_default_context(), "localhost", seconds)

            assert stream.get_extra_info("is_readable")


async def test_a_handshake_that_is_cancelled_closes_its_connection(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        stream = await BACKEND.connect_unix_socket(listener.getsockname(), 30)
        other, _ = listener.accept()
        with other:
            shaking = asyncio.create_task(
                stream.start_tls(ssl.create_default_context(), "localhost", 30)
            )
            await asyncio.sleep(0.01)
            shaking.cancel()

            with pytest.raises(asyncio.CancelledError):
                await shaking
            assert stream.get_extra_info("is_readable")
