"""What is asked of the package for long: each trial returns what came out, and whether it may."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from tests import WARNINGS_ARE_ERRORS
from tests.fakes.server import FakeServer
from tests.fakes.wire import DONE, dumps, event
from tests.faults.measurements import Figure
from tests.faults.raw_socket_server import HEAD, RawServer
from tests.supervisor.conftest import wait_until

__all__ = ["cancels", "slow_reader", "streams", "together"]

MOST_GROWTH = 20
"""Megabytes that a reader may grow by: what it keeps is the text, for the error of a cut answer."""

PIECE = event(dumps({"choices": [{"delta": {"content": "ab"}}]})) * 1000
END = event(dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})) + DONE


def run(name: str, url: str, count: int) -> dict[str, Any]:
    """Run one of the programs that ask, and return what it tells."""
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-m", "tests.soak.clients", name, url, str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or done.stderr:
        return {"failed": done.stderr}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def seconds_since(start: float) -> str:
    return f"{time.monotonic() - start:.0f} s"


def streams(count: int) -> Figure:
    """Streams at once with 256 descriptors: all of them are answered."""
    start = time.monotonic()
    with FakeServer() as server:
        server.token_seconds = 0.01
        found = run("streams", server.url, count)
    return Figure(
        f"{count:,} streams at once with 256 descriptors, in tasks and in threads",
        f"{found} in {seconds_since(start)}",
        "all right",
        found == {"tasks": {"right": count}, "threads": {"right": count}},
    )


def cancels(count: int) -> Figure:
    """Requests that are given up at random moments: their connections come back."""
    start = time.monotonic()
    with FakeServer() as server:
        server.token_seconds = 0.01
        found = run("cancels", server.url, count)
        freed = wait_until(lambda: 0 == server.open_connections == server.generating)
    return Figure(
        f"{count:,} requests that are given up, half in tasks and half in threads",
        f"{found}, server {'free' if freed else 'BUSY'} in {seconds_since(start)}",
        "none in use after",
        freed and found == {"cancelled": count, "in use": 0, "answered": 400, "descriptors": 0},
    )


def slow_reader(megabytes: int) -> Figure:
    """A long answer that is read slowly: it is not kept, but for its text."""
    start = time.monotonic()

    def answer(server: RawServer, connection: Any) -> None:
        connection.sendall(HEAD)
        server.flood(connection, PIECE, megabytes * 1_000_000)
        connection.sendall(END)
        # To close it with something unread would break the answer.
        while connection.recv(65536):
            pass

    with RawServer(answer) as server:
        found = run("slow", server.url, megabytes)
        sent = server.sent
    growth = found.get("growth", 10**12) / 1e6
    return Figure(
        f"{megabytes} MB streamed to a slow reader",
        f"grew by {growth:.1f} MB in {seconds_since(start)} {found.get('failed', '')}",
        f"{MOST_GROWTH} MB",
        growth < MOST_GROWTH and sent >= megabytes * 1_000_000,
    )


def together(rounds: int) -> Figure:
    """Threads and tasks with one object: each gets its own answers."""
    start = time.monotonic()
    with FakeServer() as server:
        found = run("together", server.url, rounds)
    return Figure(
        "64 threads and 64 tasks together on one ChatMlxcel",
        f"{found} in {seconds_since(start)}",
        "all right",
        found == {"right": 2 * 128 * rounds},
    )
