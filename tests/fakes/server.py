"""A scripted stand-in for the `mlxcel` server, over a real socket.

`FakeServer` runs in threads of the test's process. Run as a program, this file takes the command
line of `mlxcel serve` (or, without the word `serve`, of `mlxcel-server`) and misbehaves as the
`FAKE_*` variables say; see `main`. It needs the standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

if __name__ == "__main__":
    # Python puts the folder of a program on the path, not the one above it.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.fakes.answers import Generation, Json
from tests.fakes.api import FakeApi, Seen
from tests.fakes.replies import Reply
from tests.fakes.wire import SSE

__all__ = ["FakeServer", "Reply", "Seen", "executable"]

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
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


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
        self.disconnected = threading.Event()
        self.crash_after: int | None = None
        self._open: set[Connection] = set()
        self.http_threads = 2
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

    def wait_disconnect(self, timeout: float) -> bool:
        """Wait until a client goes away mid-reply; False when none did in `timeout` seconds."""
        return self.disconnected.wait(timeout)

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
            listener = socket.create_server((self.host, port))
            self.port = listener.getsockname()[1]
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
        note(f"{seen.method} {seen.path}")
        with self.lock:
            self.requests.append(seen)
        with self._thread(connection, seen):
            reply = self.reply(seen)
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
            left -= len(part)
            if part:
                buffer += b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
            half = crash and index >= len(reply.frames) // 2
            if reply.split or len(buffer) > 65536 or half or left <= 0:
                connection.sock.sendall(buffer)
                buffer.clear()
            if half:
                note("end")
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


# --------------------------------------------------------------------------- as a program


def executable(
    directory: Path, name: str = "mlxcel", *, wrapper: bool = False, **environment: str
) -> Path:
    """Write a shell script that runs this file as a program.

    Args:
        directory: Where to put the script.
        name: Its file name.
        wrapper: Keep the shell as the parent, so that a signal to it does not reach the server.
        environment: `FAKE_*` and other variables for the program.
    """
    variables = [f"{key}={value}" for key, value in environment.items()]
    command = ["env", *variables, sys.executable, "-E", "-S", str(Path(__file__).resolve())]
    line = f'{shlex.join(command)} "$@"'
    path = directory / name
    path.write_text(f"#!/bin/sh\n{line}\nexit $?\n" if wrapper else f"#!/bin/sh\nexec {line}\n")
    path.chmod(0o755)
    return path


# Flags that change nothing here, with a value and without.
VALUES = """--models-dir --api-key-file --max-batch-size --timeout --chat-template
    --chat-template-file --chat-template-kwargs --reasoning-budget --draft-model --model-draft
    --draft-max --draft-kind --draft-block-size --adapter --lora --log-file --allowed-origins
    --max-image-payload-size --max-images --max-image-width --max-image-height --max-kv-size
    --prompt-cache-capacity-bytes --prompt-cache-max-entries --prompt-cache-ttl --kv-cache-budget
    --prompt-cache-min-prefix --max-image-decode-alloc-bytes --temp --top-k --top-p --min-p
    --repeat-penalty --repeat-last-n --presence-penalty --frequency-penalty --n-gpu-layers"""
SWITCHES = """--no-batch --metrics --log-disable --prompt-cache-enabled --no-prompt-cache --force
    --no-memory-check --no-mmap"""
NEWEST_VALUES = """ --model-store-root --decode-timeout --sse-ping-interval --threads-http
    --ssl-cert-file --ssl-key-file --reasoning --reasoning-format --reasoning-effort
    --embedding-batch-size --embedding-max-length --embedding-queue-depth --rerank-batch-size
    --embedding-request-timeout-secs --pooling --embd-normalize --slot-save-path
    --sleep-idle-seconds --tags --verbosity --log-verbosity --log-colors"""
NEWEST_SWITCHES = """ --reuse-port --reasoning-preserve --skip-chat-parsing --jinja --settings
    --prefill-assistant --no-prefill-assistant --kv-unified --no-log-prefix
    --no-log-timestamps"""


def make_parser(generation: Generation, *, serve: bool) -> argparse.ArgumentParser:
    """The command line of `mlxcel serve`, or of `mlxcel-server`; both read `LLAMA_ARG_*`."""
    parser = argparse.ArgumentParser(
        "mlxcel serve" if serve else "mlxcel-server", allow_abbrev=False
    )

    def add(*names: str, env: str = "", default: Any = None, kind: type = str) -> None:
        value = os.environ.get(f"LLAMA_ARG_{env}" if env else "", default)
        parser.add_argument(*names, default=value, type=kind)

    def short(name: str) -> list[str]:
        return [] if serve else [name]

    add("-m", "--model", env="MODEL")
    add("--host", env="HOST", default="127.0.0.1")
    add("--port", env="PORT", default=8080, kind=int)
    add("-a", "--alias", env="ALIAS")
    add("--api-key")
    add(*short("-c"), "--ctx-size", env="CTX_SIZE", default=0, kind=int)
    add(*short("-n"), "--n-predict", env="N_PREDICT", default=-1, kind=int)
    parallel = "--n-parallel" if serve else "--parallel"
    parser.add_argument(
        parallel, dest="n_parallel", type=int, default=os.environ.get("LLAMA_ARG_N_PARALLEL", 4)
    )
    add("--max-batch-prefill", default=4, kind=int)
    add("--max-queue-depth", default=32, kind=int)
    add("-s", "--seed")
    add("-b", "--batch-size")
    for name in ("warmup", "slots"):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--props", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    newest = generation == "newest"
    if newest:
        add("--api-prefix", env="API_PREFIX", default="")
        add("--embedding-model")
        add("--reranker-model")
    for name in (VALUES + NEWEST_VALUES * newest).split():
        add(name)
    for name in (SWITCHES + NEWEST_SWITCHES * newest).split():
        parser.add_argument(name, action="store_true")
    return parser


def flag_surface(parser: argparse.ArgumentParser) -> Json:
    """What `mlxcel serve --dump-flag-surface` prints on the newest generation."""
    flags = []
    for action in parser._actions:
        longs = [name[2:] for name in action.option_strings if name.startswith("--")]
        shorts = [name[1:] for name in action.option_strings if not name.startswith("--")]
        flag = {"long": longs[0], "long_aliases": longs[1:], "short": next(iter(shorts), None)}
        flags.append({**flag, "takes_value": action.nargs is None, "hidden": False})
    return {"schema_version": 1, "binary": "mlxcel", "args": flags}


def log(text: str, level: str = "INFO") -> None:
    """Log on stdout, as the server does."""
    put(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {level:>5} mlxcel: {text}")


def put(line: str) -> None:
    """Print a line; a closed pipe is no reason to end."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


def fail(message: str) -> NoReturn:
    sys.stderr.write(f"Error: {message}\n")
    sys.exit(int(os.environ.get("FAKE_EXIT_CODE", "1")))


def flood(count: int, newlines: bool) -> None:
    """Fill stdout and stderr with `count` bytes each, some of them not UTF-8."""
    line = b"noise \xff\xfe caf\xc3\xa9 " * 3 + (b"\n" if newlines else b" ")
    for at in range(0, count, len(line)):
        for descriptor in (1, 2):
            os.write(descriptor, line[: count - at])


def note(event: str) -> None:
    """Append what happens now to the file that `FAKE_TIMES` names, if it names one."""
    if path := os.environ.get("FAKE_TIMES"):
        # The one clock that all processes of a machine share.
        line = json.dumps({"event": event, "at": time.monotonic()})
        with Path(path).open("a") as file:
            file.write(line + "\n")


def write_pid_file(path: Path) -> None:
    """Append one JSON line about this process, so that a test can count starts."""
    child = None
    if os.environ.get("FAKE_CHILD"):
        child = subprocess.Popen(["sleep", "600"]).pid
    prefixes = ("FAKE_", "HF_", "LLAMA_", "MLXCEL_")
    environment = {key: value for key, value in os.environ.items() if key.startswith(prefixes)}
    own = {"pid": os.getpid(), "ppid": os.getppid(), "pgid": os.getpgrp(), "child": child}
    with path.open("a") as file:
        file.write(json.dumps({**own, "argv": sys.argv[1:], "environment": environment}) + "\n")


def listen_address(generation: Generation, host: str, port: int) -> Json:
    """Which of Unix socket and TCP the two flags mean; the generations disagree."""
    if generation == "v0.4.2":
        return {"socket": host} if port == 0 else {"host": host, "port": port}
    if not host:
        fail("host must not be empty")
    if host.endswith(".sock"):
        return {"socket": host}
    if port == 0 and "/" in host:
        log("a socket path should end in .sock", "WARN")
        return {"socket": host}
    return {"host": host, "port": port}


def check_model(model: str) -> None:
    if model.startswith(("/", ".", "~")) and not Path(model).exists():
        fail(f"model path not found: {model}\n\nCaused by:\n    No such file or directory")


def load(model: str, seconds: float) -> None:
    """Take as long as loading takes; a repo is downloaded first, which shows on stdout."""
    lines = json.loads(os.environ.get("FAKE_LOG_LINES", "[]"))
    if not lines and "/" in model and not Path(model).exists():
        lines = [
            f"[mlxcel] model '{model}' not found locally; downloading into the mlxcel store..."
        ]
        for at, name in enumerate(("config.json", "tokenizer.json", "model.safetensors"), 1):
            lines += [f"[{at}/3] downloading: {name}", f"[{at}/3] done: {name} (1.00 KiB in 0.1s)"]
        lines.append("[mlxcel download] complete: downloaded=3 cached=0 total_size=3.00 KiB")
    for line in lines:
        put(line)
        time.sleep(seconds / len(lines))
    if not lines:
        time.sleep(seconds)


def fail_weights() -> None:
    log("failed to load the model's weights: unsupported tensor", "ERROR")


HEALTH = {
    "silent": Reply.hang(),
    "close": Reply.close(),
    "garbage": Reply.raw(b"\0\xff no HTTP\r\n\r\n"),
    "302": Reply.plain(302, headers={"location": "http://127.0.0.1:9/login"}),
}
"""How `/health` can misbehave other than by a status."""


def main() -> None:
    """Run as `mlxcel` would, misbehaving as the environment says.

    FAKE_GENERATION: "v0.4.2" or "newest" (the default).
    FAKE_LOAD_SECONDS: How long loading takes; it delays the bind, or with `--no-warmup` the health.
    FAKE_LOG_LINES: Print the strings of this JSON list meanwhile, evenly.
    FAKE_FAIL: Print `Error: <this>` on stderr and exit 1 after loading.
    FAKE_EXIT_CODE: Exit with this code instead; without FAKE_FAIL, say nothing.
    FAKE_WEIGHTS_FAIL: Say that the weights cannot be loaded when that is over, and stay up, with a
        health of 503 for ever.
    FAKE_IGNORE_SIGTERM: Do so.
    FAKE_STDOUT_BYTES: Write so many bytes on stdout and on stderr before the bind.
    FAKE_STDOUT_NEWLINES: "0" writes them as one line.
    FAKE_CRASH_AFTER: Answer so many generation requests, then die by SIGKILL inside an answer.
    FAKE_PIDFILE: Append a JSON line with pid, argv and some variables to this file.
    FAKE_TOKEN_SECONDS: Pause so long between the tokens of an answer.
    FAKE_HEALTH: Answer `/health` with this status, or in one of the ways of `HEALTH`.
    FAKE_HEALTH_SECONDS: Do so for this time after the bind, and not for ever.
    FAKE_TIMES: Append a JSON line with the time to this file when it is "ready", when a request
        arrives (its method and path), and when it is about to "end" by a switch above.
    FAKE_CHILD: Start a `sleep` that inherits our pipes; its pid is in that line.
    """
    env = os.environ
    # Python handles SIGINT and the server does not: the default action ends it at once.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if env.get("FAKE_IGNORE_SIGTERM"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A test that loses this process must not leave it behind for ever.
    signal.alarm(3600)
    generation: Generation = "v0.4.2" if env.get("FAKE_GENERATION") == "v0.4.2" else "newest"
    words = sys.argv[1:]
    if words == ["--version"]:
        print("mlxcel 0.4.2" if generation == "v0.4.2" else "mlxcel 0.5.0")
        return
    serve = words[:1] == ["serve"]
    parser = make_parser(generation, serve=serve)
    if serve and words[1:2] == ["--dump-flag-surface"] and generation == "newest":
        print(json.dumps(flag_surface(parser)))
        return
    options = parser.parse_args(words[1:] if serve else words)
    if not options.model:
        parser.error("the following required arguments were not provided: --model <MODEL>")
    if "FAKE_PIDFILE" in env:
        write_pid_file(Path(env["FAKE_PIDFILE"]))
    run(options, generation)


def run(options: argparse.Namespace, generation: Generation) -> NoReturn:
    """Load, bind and serve until a signal ends the process."""
    env = os.environ
    log("mlxcel starting")
    weights_fail = "FAKE_WEIGHTS_FAIL" in env
    seconds = float(env.get("FAKE_LOAD_SECONDS", "0"))
    fails = "FAKE_FAIL" in env or "FAKE_EXIT_CODE" in env
    if 0 < options.ctx_size < 512 * options.n_parallel:
        fail("--ctx-size leaves less than 512 tokens for each slot")
    check_model(options.model)
    if options.warmup or fails:
        load(options.model, seconds)
    if options.warmup and weights_fail:
        fail_weights()
        log("warmup failed (non-fatal): the model is not loaded", "WARN")
    flood(int(env.get("FAKE_STDOUT_BYTES", "0")), env.get("FAKE_STDOUT_NEWLINES") != "0")
    if fails:
        note("end")
    if "FAKE_FAIL" in env:
        fail(env["FAKE_FAIL"])
    if fails:
        sys.exit(int(env["FAKE_EXIT_CODE"]))
    server = make_server(options, generation)
    server.loading = not options.warmup
    server.load_failed = weights_fail and options.warmup
    health = env.get("FAKE_HEALTH")
    if health is not None:
        server.route("/health", HEALTH[health] if health in HEALTH else Reply.plain(int(health)))
    try:
        server.start()
    except OSError as error:
        fail(f"failed to bind {options.host}\n\nCaused by:\n    {error}")
    log(f"listening on {server.url}")
    if not server.loading and not server.load_failed:
        note("ready")
    if "FAKE_HEALTH_SECONDS" in env:
        time.sleep(float(env["FAKE_HEALTH_SECONDS"]))
        server.unroute("/health")
    if not options.warmup:
        load(options.model, seconds)
        server.load_failed = weights_fail
        server.loading = False
        if weights_fail:
            fail_weights()
        else:
            note("ready")
            log("model loaded")
    while True:
        time.sleep(3600)


def make_server(options: argparse.Namespace, generation: Generation, **listen: Any) -> FakeServer:
    """A server that was told the flags; `listen` is where it listens instead of there."""
    env = os.environ
    model_id = options.alias or Path(options.model).name
    models: list[Json] = [{"id": model_id, "capabilities": ["completion"]}]
    for flag, capability in (("embedding_model", "embedding"), ("reranker_model", "rerank")):
        if path := getattr(options, flag, None):
            models.append({"id": Path(path).name, "capabilities": [capability]})
    server = FakeServer(
        generation,
        **(listen or listen_address(generation, options.host, options.port)),
        model_id=model_id,
        api_key=options.api_key or env.get("LLAMA_API_KEY"),
        context_size=options.ctx_size // options.n_parallel or None,
        slots=options.n_parallel,
        models=models if len(models) > 1 else None,
        start=False,
    )
    server.scheduler.max_batch_prefill = options.max_batch_prefill
    server.scheduler.max_queue_depth = options.max_queue_depth
    if options.no_batch:
        server.scheduler.slots = 0
    server.n_predict = options.n_predict
    server.cache = not options.no_prompt_cache
    server.api_prefix = getattr(options, "api_prefix", "")
    server.props = options.props
    server.slots_endpoint = options.slots
    server.token_seconds = float(env.get("FAKE_TOKEN_SECONDS", "0"))
    if "FAKE_CRASH_AFTER" in env:
        server.crash_after = int(env["FAKE_CRASH_AFTER"])
    return server


if __name__ == "__main__":
    main()
