"""How much of their prompts two conversations in turns reuse, beside a batch."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from mlxcel_integrations import ManagedServer
from tests.benchmarks.clients import Client
from tests.benchmarks.one_token import ask, askers, user
from tests.benchmarks.part import Part
from tests.embedded.texts import log_book

__all__ = ["PARTS"]

ENTRIES = 15
TURNS = 4


def conversations(rounds: int, peers: bool) -> dict[str, float]:
    """Return the part of what they have sent before that the engine need not read again.

    Args:
        rounds: Nothing here: tokens are counted, and do not depend on the load.
        peers: Whether packages of others take part.
    """
    with ManagedServer("embedded", host="127.0.0.1", parallel=2) as server:
        url = server.base_url.removesuffix("/v1")
        with batch_beside(url):
            return {name: reused(client, name) for name, client in askers(url, peers).items()}


def reused(client: Client, title: str) -> float:
    """Hold two conversations in turns; their titles are such that no others begin like them."""
    chats = {
        name: [{"role": "system", "content": f"{title}, {name}. {log_book(ENTRIES, name=name)}"}]
        for name in ("day", "week")
    }
    had = dict.fromkeys(chats, 0)
    found = could = 0
    for turn in range(TURNS):
        for name, messages in chats.items():
            messages.append(user(f"Which port in entry {turn + 2}?"))
            tokens, cached = ask(client, messages)
            found, could = found + min(cached, had[name]), could + had[name]
            had[name] = tokens
            messages.append({"role": "assistant", "content": f"Port {turn}."})
    return found / could


@contextmanager
def batch_beside(url: str) -> Iterator[None]:
    """Ask other questions, one after the other, until the end."""
    ended = threading.Event()

    def ask_on() -> None:
        with httpx.Client(base_url=url, timeout=None) as client:
            for tour in itertools.count():
                if ended.is_set():
                    return
                text = f"{log_book(3, name=f'tour {tour},')} Which port?"
                body = {"messages": [user(text)], "max_tokens": 4}
                client.post("/v1/chat/completions", json=body)

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


PARTS = (Part("conversations", "% reused", 100, conversations, {}),)
