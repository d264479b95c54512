"""Network streams whose reads and writes end with the deadline of their request.

httpx only limits each single read of a socket: it waits for headers that arrive byte by byte, or
for informational responses without end, as long as they keep coming. It also allows each address
of a host the whole time that a connection may take.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from ..protocol.timeouts import Deadline
from .addresses import MIN_CONNECT_SECONDS, look_up, lookup_errors, timed_attempts
from .sockets import wrap_backend

if TYPE_CHECKING:
    # Imported with the first connection, since it takes as long to import as httpx itself.
    import ssl

    import httpcore

__all__ = ["DeadlineBackend", "DeadlineStream", "keeping_deadlines", "sending"]

T = TypeVar("T")

WRITTEN_AT_ONCE = 64 * 1024


class _Sending(threading.local):
    """The deadline of the request that this thread sends, None if it sends none.

    The reads of its response end with it, too.
    """

    deadline: Deadline | None = None


sending = _Sending()


def keeping_deadlines(transport: T) -> T:
    """Make a transport of httpx keep the deadlines of requests, and return it."""
    wrap_backend(transport, _with_deadlines)
    return transport


def _with_deadlines(backend: Any) -> DeadlineBackend:
    # Several clients may have been given the same transport.
    return backend if isinstance(backend, DeadlineBackend) else DeadlineBackend(backend)


class DeadlineBackend:
    """A ``httpcore.NetworkBackend`` whose connections keep deadlines.

    Args:
        backend: Makes the connections.
    """

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self.sleep = backend.sleep
        self._backend = backend

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, **options: Any
    ) -> DeadlineStream:
        """Connect to the first address of a host that accepts.

        The addresses share the time, instead of each getting all of it. Only those that are silent
        are tried twice: a refusal is an answer.
        """
        import httpcore

        limit = _within_request(timeout)
        end = None if limit is None else time.monotonic() + limit
        with lookup_errors():
            addresses = look_up(host, port).result(limit)
        silent: list[str] = []
        for address, share in timed_attempts(addresses, end, silent):
            try:
                stream = self._backend.connect_tcp(address, port, share, **options)
                return DeadlineStream(stream)
            except httpcore.ConnectTimeout as error:
                failure: Exception = error
                silent.append(address)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, **options: Any
    ) -> DeadlineStream:
        """Connect to a Unix socket."""
        stream = self._backend.connect_unix_socket(path, _within_request(timeout), **options)
        return DeadlineStream(stream)


class DeadlineStream:
    """A ``httpcore.NetworkStream`` whose waits end with the deadline of its request.

    Args:
        stream: The stream without deadlines.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self.close = stream.close
        self.get_extra_info = stream.get_extra_info
        self._stream = stream
        self._head = b""
        self._deadline: Deadline | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes."""
        return self._stream.read(max_bytes, self._seconds_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes of a request, whose deadline applies from now on.

        The head of a POST waits for its body, which always follows: one packet instead of two.
        """
        self._deadline = sending.deadline
        if buffer.startswith(b"POST ") and not self._head:
            self._head = buffer
            return
        buffer, self._head = self._head + buffer, b""
        for start in range(0, len(buffer), WRITTEN_AT_ONCE):
            self._stream.write(buffer[start : start + WRITTEN_AT_ONCE], self._seconds_left(timeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> DeadlineStream:
        """Encrypt the connection."""
        limit = _within_request(timeout)
        return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, limit))

    def _seconds_left(self, timeout: float | None) -> float | None:
        """Return the seconds that a read or a write may take.

        Raises:
            TimeoutError: None are left.
        """
        if self._deadline is None:
            return timeout
        self._deadline.renew(time.monotonic(), progress=False)
        return self._deadline.timeout


def _within_request(timeout: float | None) -> float | None:
    """Return a limit in seconds, or what the request of this thread has left if that is less."""
    deadline = sending.deadline
    left = deadline.left(time.monotonic()) if deadline is not None else None
    if left is None:
        return timeout
    return max(left if timeout is None else min(timeout, left), MIN_CONNECT_SECONDS)
