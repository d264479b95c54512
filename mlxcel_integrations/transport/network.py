"""Network streams whose reads and writes end with the deadline of their request.

httpx limits each read of a socket alone: headers that arrive byte by byte, or informational
responses without end, would be waited for as long as they come.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from ..protocol.timeouts import Deadline

if TYPE_CHECKING:
    # Imported with the first connection, since it takes as long to import as httpx itself.
    import httpcore

__all__ = ["BACKEND", "DeadlineBackend", "DeadlineStream", "Within", "keeping_deadlines"]

T = TypeVar("T")

BACKEND = "_network_backend"
"""The attribute of httpcore's pools that is replaced; httpx has no argument for it."""

WRITTEN_AT_ONCE = 64 * 1024


class _Thread(threading.local):
    """The deadline of the request that this thread waits for, None outside of one."""

    deadline: Deadline | None = None


_thread = _Thread()


class Within:
    """Makes the reads and writes of this thread end with a deadline, in a ``with`` statement."""

    __slots__ = ("_deadline",)

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        _thread.deadline = self._deadline

    def __exit__(self, *_: object) -> None:
        _thread.deadline = None


def keeping_deadlines(transport: T) -> T:
    """Return a transport after making it keep the deadlines of ``Within``, if it is httpx's."""
    pool = getattr(transport, "_pool", None)
    backend = getattr(pool, BACKEND, None)
    if backend is not None and not isinstance(backend, DeadlineBackend):
        setattr(pool, BACKEND, DeadlineBackend(backend))
    return transport


class DeadlineBackend:
    """A ``httpcore.NetworkBackend`` that connects as another does.

    Args:
        backend: The other.
    """

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self.sleep = backend.sleep
        self._backend = backend

    def connect_tcp(self, *args: Any, **kwargs: Any) -> DeadlineStream:
        """Connect to a host."""
        return DeadlineStream(self._backend.connect_tcp(*args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> DeadlineStream:
        """Connect to a Unix socket."""
        return DeadlineStream(self._backend.connect_unix_socket(*args, **kwargs))


class DeadlineStream:
    """A ``httpcore.NetworkStream`` whose waits end with the deadline of the thread.

    Args:
        stream: The stream without deadlines.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self.close = stream.close
        self.get_extra_info = stream.get_extra_info
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes."""
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes."""
        for start in range(0, len(buffer), WRITTEN_AT_ONCE):
            self._stream.write(buffer[start : start + WRITTEN_AT_ONCE], _left(timeout))

    def start_tls(self, *args: Any, **kwargs: Any) -> DeadlineStream:
        """Encrypt the connection."""
        return DeadlineStream(self._stream.start_tls(*args, **kwargs))


def _left(timeout: float | None) -> float | None:
    """Return the seconds that a read or a write may take.

    Raises:
        TimeoutError: None are left.
    """
    deadline = _thread.deadline
    if deadline is None:
        return timeout
    deadline.renew(time.monotonic(), progress=False)
    return deadline.timeout
