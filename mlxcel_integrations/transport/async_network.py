"""Asynchronous connections to Unix sockets.

Those of anyio, which httpcore takes by default, make asyncio log an ``InvalidStateError`` when a
task is cancelled at the moment at which data arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from typing import TYPE_CHECKING, Any, TypeVar

from .sockets import wrap_backend

if TYPE_CHECKING:
    import httpcore

__all__ = ["AsyncBackend", "UnixStream", "over_asyncio"]

T = TypeVar("T")

FULL_QUEUE_SECONDS = 0.01
"""Pause between attempts to connect to a server that accepts no more connections for now."""


def over_asyncio(transport: T) -> T:
    """Return a transport of httpx after making it use asyncio for Unix sockets."""
    wrap_backend(transport, AsyncBackend)
    return transport


class AsyncBackend:
    """A ``httpcore.AsyncNetworkBackend`` that connects to Unix sockets itself.

    Args:
        backend: Connects to hosts.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self.connect_tcp = backend.connect_tcp
        self.sleep = backend.sleep

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - an argument of httpcore's, as below
        socket_options: object = None,
    ) -> UnixStream:
        """Connect to a Unix socket."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(timeout):
                while not _connects(connection, path):  # noqa: ASYNC110 - nobody sets an event
                    await asyncio.sleep(FULL_QUEUE_SECONDS)
                return UnixStream(*await asyncio.open_unix_connection(sock=connection))
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise _error(error, "Connect") from error
            raise


class UnixStream:
    """A ``httpcore.AsyncNetworkStream`` over a Unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return the next bytes."""
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except OSError as error:
            raise _error(error, "Read") from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send bytes."""
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except OSError as error:
            raise _error(error, "Write") from error

    async def aclose(self) -> None:
        """Close the connection, and drop bytes that were not sent yet."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def get_extra_info(self, info: str) -> Any:
        """Return a detail of the connection by its name."""
        if info == "is_readable":
            return self._writer.is_closing() or self._reader.at_eof() or self._has_input()
        return self._writer.get_extra_info(info)

    def _has_input(self) -> bool:
        """Tell whether the system has bytes, or the end, that the event loop has not seen yet."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))


def _error(error: OSError, what: str) -> Exception:
    """Return the exception of httpcore for an error while connecting, reading or writing."""
    import httpcore

    # The system's own timeouts have numbers, those of asyncio have none.
    timed_out = isinstance(error, TimeoutError) and not error.errno
    name = f"{what}Timeout" if timed_out else f"{what}Error"
    translated: Exception = getattr(httpcore, name)(error)
    return translated


def _connects(connection: socket.socket, path: str) -> bool:
    """Connect to a Unix socket, which takes no time; return False if its queue is full.

    asyncio would use it as if it were connected.
    """
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True
