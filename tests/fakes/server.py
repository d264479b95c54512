"""A scripted stand-in for the `mlxcel` server, over a real socket.

`FakeServer` runs in threads of the test's process; `program.py` runs one as a program.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.fakes.answers import Generation, Json
from tests.fakes.api import FakeApi, Seen
from tests.fakes.logs import SCHEDULER
from tests.fakes.ports import free_port
from tests.fakes.replies import Reply
from tests.fakes.wire import SSE

__all__ = ["FakeServer", "Reply", "Seen"]

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


# hyper answers at the first byte that no method begins with, without waiting for the end of a line.
TLS_HANDSHAKE = b"\x16"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ConnectionEnded(Exception):
    """The reply ends with the connection."""


class Connection:
    """One accepted socket: reads requests, writes replies."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.number = number
        self._reader = sock.makefile("rb")
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def read_request(self) -> Seen | None:
        """Read the next request; None when the client is done."""
        if self._reader.peek(1)[:1] == TLS_HANDSHAKE:
            self.sock.sendall(BAD_REQUEST)
            return None
        line = self._reader.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return None
        headers: dict[str, str] = {}
        while (header := self._reader.readline(65536)) not in (b"\r\n", b"\n", b""):
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        target = urlsplit(line[1])
        body = self._read_body(headers)
        return Seen(line[0], target.path, target.query, headers, body, self.number)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self._reader.read(int(headers.get("content-length", 0)))
        body = b""
        while size := int(self._reader.readline().split(b";")[0] or b"0", 16):
            body += self._reader.read(size)
            self._reader.readline()
        self._reader.readline()
        return body

    def pause(self, seconds: float) -> None:
        """Wait; raises ConnectionError as soon as the client goes away."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self._poll.poll(None if math.isinf(left) else math.ceil(left * 1000)):
                continue
            if not self.sock.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError
            time.sleep(min(left, 0.05))  # an early next request keeps the poll ready

    def check(self) -> None:
        """Raise ConnectionError if the client went away."""
        if self._poll.poll(0) and not self.sock.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError

    def close(self) -> None:
        """Say goodbye so that what was sent still arrives."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self.sock.close()


def ping(chunked: bool) -> bytes:
    """The comment that keeps a silent stream awake."""
    return b"3\r\n:\n\n\r\n" if chunked else b":\n\n"


# What becomes of a request without a slot: what a whole answer says, and how many tokens it gets.
WITHOUT_SLOT = {
    "refused": ("Generation error: Server busy: prefill queue full", 0),
    "unallocated": (
        "Generation error: Server busy: CachePool: max capacity (0) reached, "
        "cannot allocate new sequence",
        0,
    ),
    "dropped": ("Generation error: Response channel closed", 1),
}


LOGGED = {
    "unallocated": (
        "Cache pool allocation failed: CachePool: max capacity (0) reached, "
        "cannot allocate new sequence",
        "WARN",
        SCHEDULER,
    ),
    "dropped": (
        "Failed to add sequence to active batch: active batch full: cannot add seq-3 (capacity 2)",
        "ERROR",
        SCHEDULER,
    ),
}
"""What the server logs of it."""


class Place:
    """The slot of a request, or its place in the queue for one."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.waits = server.generation == "v0.4.2"
        self._counted = False
        if self.waits:
            self._ticket = server.scheduler.enter()
        else:
            self._count(1)

    def wait(self, reply: Reply, watch: Callable[[], None]) -> Reply:
        """Wait until there is a slot, or none to come; returns what the reply is then."""
        if not self.waits:
            return reply
        while not self._ticket.decided.wait(0.01):
            watch()
        if self._ticket.state in WITHOUT_SLOT:
            if self._ticket.state in LOGGED:
                self._server.log(*LOGGED[self._ticket.state])
            return reply.without_slot(*WITHOUT_SLOT[self._ticket.state])
        self._count(1)
        return reply

    def leave(self) -> None:
        """Free the slot."""
        if self.waits:
            self._server.scheduler.leave(self._ticket)
        self._count(-self._counted)

    def _count(self, change: int) -> None:
        with self._server.lock:
            self._server.generating += change
        self._counted = change > 0


class FakeServer(FakeApi):
    """A server that answers as `mlxcel` does, unless it is told to misbehave.

    Args:
        generation: Which server generation to be.
        socket: Path of a Unix socket to serve on, instead of TCP. What exists there is replaced,
            and the file is left behind, as the real server does.
        port: TCP port; 0 picks a free one.
        host: TCP address.
        start: Whether to listen at once; False leaves that to `start()`.
        model_id: See `FakeApi`, as for the rest.

    Attributes:
        ping_every: Seconds of silence in a stream between keep-alive comments; None sends none.
        connections: How many connections were accepted so far.
        frames_sent: How many frames of replies were sent so far: bodies, and events of streams.
        note: Is told of each request when it arrives.
        disconnected: Set when a client goes away before its reply was complete.
        http_threads: How many whole answers the older server makes at once; it has as many threads
            as the machine has CPUs.
        crash_after: Kill this process in the middle of the answer after so many.
    """

    def __init__(
        self,
        generation: Generation = "newest",
        *,
        socket: str | Path | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        model_id: str = "fake-model",
        api_key: str | None = None,
        context_size: int | None = None,
        slots: int = 4,
        models: list[Json] | None = None,
        start: bool = True,
    ) -> None:
        super().__init__(
            generation,
            model_id=model_id,
            api_key=api_key,
            context_size=context_size,
            slots=slots,
            models=models,
        )
        self.socket = Path(socket) if socket is not None else None
        self.port: int | None = None
        self.host = host
        self.ping_every: float | None = None
        self.connections = 0
        self.frames_sent = 0
        self.disconnected = threading.Event()
        self.crash_after: int | None = None
        self._open: set[Connection] = set()
        self.http_threads = 2
        self.note: Callable[[str], None] = lambda event: None
        self._held_threads = 0
        self._stopping = False
        self._routes = self._make_routes()
        self._wanted_port = port
        if start:
            self.start()

    def start(self) -> None:
        """Bind and accept connections."""
        self._listener = self._bind(self._wanted_port)
        self._wake, self._wake_writer = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        """Base URL, without `/v1`."""
        return f"unix://{self.socket}" if self.socket else f"http://{self.host}:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        with self.lock:
            return len(self._open)

    def wait_disconnect(self, timeout: float = 10.0) -> bool:
        """Wait until a client goes away mid-reply; False when none did in `timeout` seconds."""
        return self.disconnected.wait(timeout)

    def wait_post(self, count: int = 1, timeout: float = 30.0) -> None:
        """Wait until so many requests for an answer have come."""
        end = time.monotonic() + timeout
        while len(self.posts) < count:
            assert time.monotonic() < end, f"only {len(self.posts)} requests have come"
            time.sleep(0.005)

    def stop(self) -> None:
        """Close everything at once; a socket file stays, as after the real server."""
        self._stopping = True
        self._wake_writer.close()
        self._acceptor.join()
        self._listener.close()
        self._wake.close()
        with self.lock:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(2)

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _bind(self, port: int) -> socket.socket:
        if self.socket is not None:
            self.socket.parent.mkdir(parents=True, exist_ok=True)
            self.socket.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.socket))
        else:
            self.port = port or free_port(self.host)
            listener = socket.create_server((self.host, self.port))
        listener.listen(1024)
        return listener

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._stopping:
            poll.poll()
            if self._stopping:
                return
            sock, _ = self._listener.accept()
            with self.lock:
                self.connections += 1
                connection = Connection(sock, self.connections)
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(OSError, ValueError, ConnectionEnded):
                while (seen := connection.read_request()) is not None:
                    self._answer(connection, seen)
                    if seen.headers.get("connection", "").lower() == "close":
                        break
        finally:
            with self.lock:
                self._open.discard(connection)
            connection.close()

    def _answer(self, connection: Connection, seen: Seen) -> None:
        self.note(f"{seen.method} {seen.path}")
        with self.lock:
            self.requests.append(seen)
        with self._thread(connection, seen):
            reply = self.reply(seen)
            if reply.status >= 501:
                what = f"Status code: {reply.status} {REASONS[reply.status]} latency=0 ms"
                failed = f"response failed classification={what}"
                self.log(failed, "ERROR", "tower_http::trace::on_failure")
            slot = self.generates(seen) and reply.status == 200
            place = Place(self) if slot else None
            try:
                self._send(connection, reply, place)
            except OSError:
                if not self._stopping:
                    self.disconnected.set()
                    if place is not None:
                        self._finish(reply)
                raise
            finally:
                if place is not None:
                    place.leave()

    @contextlib.contextmanager
    def _thread(self, connection: Connection, seen: Seen) -> Iterator[None]:
        """Hold a thread of the older server, which has few, while it makes a whole answer.

        As long as all are held, it answers nothing at all.
        """
        if self.generation == "newest":
            yield
            return
        whole = self.generates(seen) and not (seen.json or {}).get("stream")
        while True:
            with self.lock:
                if self._held_threads < self.http_threads:
                    self._held_threads += whole
                    break
            connection.pause(0.002)
        try:
            yield
        finally:
            with self.lock:
                self._held_threads -= whole

    def _finish(self, reply: Reply) -> None:
        """Make a whole answer of the older server that nobody waits for any more."""
        if self.generation == "v0.4.2" and reply.content_type != SSE and reply.answer is not None:
            end = time.monotonic() + reply.first_delay
            while not self._stopping and time.monotonic() < end:
                time.sleep(0.01)

    def _crashes(self) -> bool:
        return self.crash_after is not None and len(self.posts) > self.crash_after

    def _send(self, connection: Connection, reply: Reply, place: Place | None) -> None:
        """Write a reply, in as few sends as its delays allow."""
        if reply.action == "close":
            raise ConnectionEnded
        if reply.action == "hang":
            connection.pause(math.inf)
        crash = place is not None and self._crashes()
        stream = reply.content_type == SSE
        if not stream:
            # The older server does not notice that nobody waits for a whole answer any more.
            reply = place.wait(reply, lambda: None) if place is not None else reply
            connection.pause(reply.first_delay)
        chunked = reply.chunked if reply.chunked is not None else stream
        buffer = bytearray(self._head(reply, chunked))
        left = math.inf if reply.cut_after is None else reply.cut_after
        for index, frame in enumerate(self._frames(connection, reply, place, buffer)):
            delay = reply.first_delay if index == reply.early else reply.delay * (index > 0)
            if delay and stream:
                connection.sock.sendall(buffer)
                buffer.clear()
                self._pause(connection, delay, chunked)
            part = frame[: int(min(left, len(frame)))]
            self.frames_sent += 1
            left -= len(part)
            if part:
                buffer += b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
            half = crash and index >= len(reply.frames) // 2
            if reply.split or len(buffer) > 65536 or half or left <= 0:
                connection.sock.sendall(buffer)
                buffer.clear()
            if half:
                self.note("end")
                os.kill(os.getpid(), signal.SIGKILL)
            if left <= 0:
                raise ConnectionEnded
        if chunked and not reply.hold_open:
            buffer += b"0\r\n\r\n"
        connection.sock.sendall(buffer)
        if reply.hold_open:
            connection.pause(math.inf)
        if reply.action == "raw" or reply.chunked is False:
            raise ConnectionEnded

    def _frames(
        self, connection: Connection, reply: Reply, place: Place | None, begun: bytearray
    ) -> Iterator[bytes]:
        """The frames of a reply; those of a stream wait for a slot after the first of them."""
        if reply.content_type != SSE or place is None or not place.waits:
            yield from reply.frames
            return
        yield from reply.frames[: reply.early]
        connection.sock.sendall(begun)
        begun.clear()
        reply = place.wait(reply, self._watch(connection, reply))
        yield from reply.frames[reply.early :]

    def _watch(self, connection: Connection, reply: Reply) -> Callable[[], None]:
        """What notices, while a stream waits, that its client leaves, and sends comments."""
        last = time.monotonic()

        def watch() -> None:
            nonlocal last
            connection.check()
            if self.ping_every is not None and time.monotonic() - last > self.ping_every:
                connection.sock.sendall(ping(reply.chunked is not False))
                last = time.monotonic()

        return watch

    def _head(self, reply: Reply, chunked: bool) -> bytes:
        if reply.action == "raw":
            return b""
        lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Status')}"]
        if reply.content_type:
            lines.append(f"content-type: {reply.content_type}")
        if chunked:
            lines.append("transfer-encoding: chunked")
        elif reply.chunked is False:
            lines.append("connection: close")
        else:
            lines.append(f"content-length: {sum(map(len, reply.frames))}")
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _pause(self, connection: Connection, seconds: float, chunked: bool) -> None:
        """Wait inside a stream, with keep-alive comments."""
        while self.ping_every is not None and seconds > self.ping_every:
            connection.pause(self.ping_every)
            connection.sock.sendall(ping(chunked))
            seconds -= self.ping_every
        connection.pause(seconds)
