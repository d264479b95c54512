"""Two conversations in turns on two slots are read once, though others take the slots meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlxcel_integrations import LLM

from .texts import log_book

pytestmark = pytest.mark.engine

LEAST_REUSED = 0.95
TURNS = 4


@contextmanager
def batch_beside(llm: LLM) -> Iterator[None]:
    """Ask about texts, one after the other, until the end."""
    ended = threading.Event()

    def ask() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            llm.chat(f"{log_book(3, name=f'tour {number},')} Which port?", max_tokens=4)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.timeout(300)
def test_two_conversations_beside_a_batch_are_read_once() -> None:
    conversations = {
        name: [{"role": "system", "content": f"You read log books. {log_book(15, name=name)}"}]
        for name in ("day", "week")
    }
    had = dict.fromkeys(conversations, 0)
    reused = could = 0
    with LLM("embedded", parallel=2) as llm, batch_beside(llm):
        for turn in range(TURNS):
            for name, messages in conversations.items():
                messages.append({"role": "user", "content": f"Which port in entry {turn + 2}?"})
                reply = llm.complete_chat(messages, max_tokens=6, session=name)
                messages.append({"role": "assistant", "content": reply.text})
                assert reply.usage is not None
                cached = reply.usage["prompt_tokens_details"]["cached_tokens"]
                reused, could = reused + min(cached, had[name]), could + had[name]
                had[name] = reply.usage["prompt_tokens"]

    assert LEAST_REUSED <= reused / could
