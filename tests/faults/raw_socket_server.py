"""A server that is only a socket, for bytes that no HTTP server sends."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

__all__ = ["HEAD", "RawServer", "reset"]

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
    b"content-length: 1000000000000\r\n\r\n"
)
"""The head of an answer that never ends."""


class RawServer:
    """Accepts connections, and hands each to a function in a thread of its own.

    Args:
        serve: What is done with a connection; it is closed after that.
        reads: Whether a request is read first.

    Attributes:
        url: The address.
        connections: How many connections there were.
        sent: How many bytes `flood` has sent.
    """

    def __init__(self, serve: Callable[[RawServer, socket.socket], None], reads: bool = True):
        self._serve, self._reads = serve, reads
        self.connections = self.sent = 0

    def __enter__(self) -> RawServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._reads:
                connection.recv(65536)
            self._serve(self, connection)

    def flood(self, connection: socket.socket, piece: bytes, most: int) -> None:
        """Send the same again and again, as fast as it is taken."""
        while self.sent < most:
            connection.sendall(piece)
            self.sent += len(piece)


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees it as broken."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
