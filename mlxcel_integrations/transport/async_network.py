"""Asynchronous connections.

With those of anyio, which httpcore uses by default, asyncio logs an ``InvalidStateError`` if a task
is cancelled at the moment at which data arrives, and Python warns of a coroutine that was never
awaited if a task is cancelled before it begins to connect. Their lookup of a host also delays the
end of a program.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from .addresses import look_up, lookup_errors, timed_attempts
from .sockets import wrap_backend

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncBackend", "AsyncStream", "over_asyncio"]

T = TypeVar("T")

FULL_QUEUE_SECONDS = 0.01
"""Pause between attempts to connect to a server that accepts no more connections for now."""


def over_asyncio(transport: T, made: WeakSet[AsyncStream]) -> T:
    """Make a transport of httpx use asyncio for its connections, and return it.

    Args:
        transport: The transport.
        made: Gets the connections.
    """
    wrap_backend(transport, lambda _: AsyncBackend(made))
    return transport


class AsyncBackend:
    """A ``httpcore.AsyncNetworkBackend`` that only needs asyncio.

    Args:
        made: Gets the connections.
    """

    def __init__(self, made: WeakSet[AsyncStream]) -> None:
        self.sleep = asyncio.sleep
        self._made = made

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - an argument of httpcore's, as below
        local_address: str | None = None,
        socket_options: object = None,
    ) -> AsyncStream:
        """Connect to the first address of a host that accepts; see ``DeadlineBackend``."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else time.monotonic() + timeout
        with lookup_errors():
            async with asyncio.timeout(timeout):
                addresses = await asyncio.wrap_future(look_up(host, port))
        silent: list[str] = []
        for address, share in timed_attempts(addresses, end, silent):
            try:
                async with asyncio.timeout(share):
                    return await self._open_stream(loop.create_connection, address, port)
            except OSError as error:
                if _is_wait_over(error):
                    silent.append(address)
                failure = _httpcore_error(error, "Connect")
                # httpcore drops the causes of errors, and leaves their contexts.
                failure.__context__ = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: object = None,
    ) -> AsyncStream:
        """Connect to a Unix socket."""
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(timeout):
                while not _try_connect(connection, path):  # noqa: ASYNC110 - nobody sets an event
                    await asyncio.sleep(FULL_QUEUE_SECONDS)
                return await self._open_stream(loop.create_unix_connection, sock=connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise _httpcore_error(error, "Connect") from error
            raise

    async def _open_stream(
        self, connect: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> AsyncStream:
        """Return a connection that a method of the loop makes."""
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await connect(lambda: protocol, *args, **options)
        stream = AsyncStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        self._made.add(stream)
        return stream


class _Reader(asyncio.StreamReader):
    """A reader that returns what has arrived before it reports that the connection broke.

    A server may answer, and close the connection, before it has read all of a request.

    Attributes:
        broken: Why the connection broke, None if it was closed normally, or is open.
        unread: How many bytes have arrived that were not read yet.
    """

    broken: Exception | None = None
    unread = 0

    def feed_data(self, data: Any) -> None:
        """Take bytes that have arrived."""
        self.unread += len(data)
        super().feed_data(data)

    def set_exception(self, exc: Exception) -> None:
        """Note why the connection ended."""
        self.broken = exc
        self.feed_eof()


class AsyncStream:
    """A ``httpcore.AsyncNetworkStream`` over a connection of asyncio."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return the next bytes."""
        try:
            async with asyncio.timeout(timeout):
                received = await self._reader.read(max_bytes)
            self._reader.unread -= len(received)
            if not received and self._reader.broken is not None:
                raise self._reader.broken
            return received
        except OSError as error:
            raise _httpcore_error(error, "Read") from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send bytes."""
        try:
            if self._writer.is_closing():
                # uvloop would raise a RuntimeError.
                raise ConnectionResetError("Connection lost")
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except OSError as error:
            raise _httpcore_error(error, "Write") from error

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Self:
        """Encrypt the connection."""
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError):
                raise _httpcore_error(error, "Connect") from error
            raise
        return self

    def abort(self) -> None:
        """Let the loop close the connection soon, and drop bytes that were not sent yet."""
        self._writer.transport.abort()

    async def aclose(self) -> None:
        """Close the connection, and drop bytes that were not sent yet."""
        self.abort()
        # The loop closes the socket meanwhile. If a task is cancelled in ``wait_closed``, others
        # that close this again are cancelled, too, such as the end of the loop.
        await asyncio.sleep(0)

    def get_extra_info(self, info: str) -> Any:
        """Return a detail of the connection by its name."""
        if info == "is_readable":
            return (
                self._writer.is_closing()
                or self._reader.at_eof()
                or self._reader.unread > 0
                or self._has_input()
            )
        return self._writer.get_extra_info(info)

    def _has_input(self) -> bool:
        """Return whether the system has bytes, or the end, that the event loop has not seen yet."""
        number = self._writer.get_extra_info("socket").fileno()
        if sys.platform == "win32":
            return bool(select.select([number], [], [], 0)[0])
        # Unlike select, it takes any number.
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))


def _httpcore_error(error: OSError, what: str) -> Exception:
    """Return the exception of httpcore for an error while connecting, reading or writing."""
    import httpcore

    name = f"{what}Timeout" if _is_wait_over(error) else f"{what}Error"
    translated: Exception = getattr(httpcore, name)(error)
    return translated


def _is_wait_over(error: OSError) -> bool:
    # The system's own timeouts have numbers, those of asyncio have none.
    return isinstance(error, TimeoutError) and not error.errno


def _try_connect(connection: socket.socket, path: str) -> bool:
    """Connect to a Unix socket, which never waits; return False if its queue is full.

    asyncio would use the socket as if it were connected.
    """
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True
