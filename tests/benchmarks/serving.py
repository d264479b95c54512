"""Scripted servers in processes of their own, so that only the clients are measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.answers import Json
from tests.fakes.api import Seen
from tests.fakes.server import FakeServer, Reply
from tests.fakes.wire import SSE, dumps, event

__all__ = ["Firehose", "serve", "served"]

ROOT = Path(__file__).parents[2]
FRAME = 4096
"""Bytes that are sent together, as by a server that is faster than its client."""


@contextmanager
def served(kind: type[FakeServer], *arguments: object) -> Iterator[str]:
    """Run a server in a process of its own, and yield its address.

    Args:
        kind: Its class.
        *arguments: What it is made with; numbers and texts.
    """
    code = (
        f"from {kind.__module__} import {kind.__name__}; from {__name__} import serve; "
        f"serve({kind.__name__}(*{arguments!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def serve(server: FakeServer) -> None:
    """Serve until standard input ends."""
    with server:
        print(server.url, flush=True)
        sys.stdin.read()


class Firehose(FakeServer):
    """Answers chats faster than any client reads, with bytes that were made before.

    Args:
        pieces: How many pieces an answer has.
    """

    def __init__(self, pieces: int) -> None:
        self._streams = {
            "/v1/chat/completions": whole(b"".join(map(event, openai_stream(pieces))), SSE),
            "/api/chat": whole(b"".join(ollama_stream(pieces)), "application/x-ndjson"),
        }
        text = " word" * pieces
        self._at_once = {
            "/v1/chat/completions": Reply.json(openai_answer(text, pieces)),
            "/api/chat": Reply.json(ollama_line(text, **ollama_end(pieces))),
        }
        super().__init__(models=[{"id": "m"}])

    def reply(self, seen: Seen) -> Reply:
        """Answer a request."""
        self.requests.clear()
        if seen.path not in self._streams:
            return super().reply(seen)
        replies = self._streams if seen.json.get("stream") else self._at_once
        return replies[seen.path]


HEAD: Json = {"id": "chatcmpl-1", "created": 1, "model": "m", "system_fingerprint": "b1"}


def whole(body: bytes, content_type: str) -> Reply:
    frames = tuple(body[first : first + FRAME] for first in range(0, len(body), FRAME))
    return Reply(frames, content_type=content_type, chunked=True)


def usage(pieces: int) -> Json:
    return {"prompt_tokens": 5, "completion_tokens": pieces, "total_tokens": pieces + 5}


def openai_stream(pieces: int) -> Iterator[bytes]:
    head = {**HEAD, "object": "chat.completion.chunk"}

    def chunk(delta: Json, finish: str | None = None) -> bytes:
        return dumps({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": None})
    yield from (chunk({"content": f" word{number}"}) for number in range(pieces))
    yield chunk({}, "stop")
    yield dumps({**head, "choices": [], "usage": usage(pieces)})
    yield b"[DONE]"


def openai_answer(text: str, pieces: int) -> Json:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage(pieces)}


def ollama_stream(pieces: int) -> Iterator[bytes]:
    for number in range(pieces):
        yield dumps(ollama_line(f" word{number}")) + b"\n"
    yield dumps(ollama_line("", **ollama_end(pieces))) + b"\n"


def ollama_line(text: str, **more: object) -> Json:
    message = {"role": "assistant", "content": text}
    head = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    return {**head, "message": message, "done": False, **more}


def ollama_end(pieces: int) -> Json:
    durations = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    counts = {"prompt_eval_count": 5, "eval_count": pieces}
    return {"done": True, "done_reason": "stop", **counts, **dict.fromkeys(durations, 1)}
