"""What other requests a scripted server has meanwhile: some that run or wait, bursts, clients
that leave.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.fakes.server import FakeServer, Reply

from .outcomes import Json
from .recorded import body_bytes

QUESTION: Json = {
    "model": "m",
    "messages": [{"role": "user", "content": "Count please"}],
    "stream": True,
    "max_tokens": 24,
}


def start(server: FakeServer, request: Json) -> http.client.HTTPConnection:
    """Send a request, and read nothing."""
    assert server.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", request["path"], body_bytes(request), headers)
    return connection


@contextmanager
def others(server: FakeServer, count: int) -> Iterator[None]:
    """So many streams that run or wait."""
    scheduler = server.scheduler
    rounds, scheduler.max_batch_prefill = scheduler.max_batch_prefill, 1
    server.script(*[Reply.text("slow", first_delay=60)] * count)
    request = {"path": "/v1/chat/completions", "body": QUESTION}
    connections = []
    for number in range(1, count + 1):
        connections.append(start(server, request))
        wait(lambda number=number: server.generating + scheduler.queued == number)
    scheduler.max_batch_prefill = rounds
    try:
        yield
    finally:
        for connection in connections:
            leave(connection)


@contextmanager
def prefill(server: FakeServer, seconds: float = 0.5) -> Iterator[None]:
    """Another request that is in its prefill."""
    server.scheduler.prefill_seconds = seconds
    connection = start(server, {"path": "/v1/chat/completions", "body": QUESTION})
    wait(lambda: bool(server.posts))
    time.sleep(0.05)
    server.scheduler.prefill_seconds = 0.002
    try:
        yield
    finally:
        leave(connection)


def leave(connection: http.client.HTTPConnection) -> None:
    """Go away in the middle of an answer."""
    if connection.sock is not None:
        connection.sock.shutdown(2)
    connection.close()


def wait(fact: Any, seconds: float = 10) -> bool:
    """Wait until something is so; returns whether it came to that."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def burst(server: FakeServer, request: Json) -> list[tuple[int, str | None, str]]:
    """The answers to requests that arrive together: their status, type and text."""
    count = request["times"]
    bodies = request.get("bodies") or [request["body"]] * count
    together = threading.Barrier(count)

    def send(body: Json) -> tuple[int, str | None, str]:
        together.wait()
        time.sleep(0 if not request["seconds_apart"] else 0.02 * bodies.index(body))
        connection = start(server, {"path": request["path"], "body": body})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, response.headers.get("content-type"), text

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, bodies))


def ended(status: int, kind: str | None, text: str) -> str:
    """How an answer ended, in the words of the recordings."""
    if kind != "text/event-stream":
        value = json.loads(text)
        if status == 200:
            return f"200 whole, finish_reason {value['choices'][0]['finish_reason']}"
        return f"{status} {text}"[:84]
    events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    done = events[-1] == "[DONE]"
    values = [json.loads(event) for event in events if event != "[DONE]"]
    choices = [value["choices"][0] if "choices" in value else value for value in values]
    texts = [choice.get("delta", choice) for choice in choices]
    count = sum(bool(text.get("content") or text.get("text")) for text in texts)
    reason = choices[-1].get("finish_reason")
    return f"200 finish_reason {reason}, {count} content chunks" + ", no [DONE]" * (not done)
