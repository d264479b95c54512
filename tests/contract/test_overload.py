"""More requests than v0.4.2 has slots: which of them it breaks, and by which flags it does not."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.fakes.server import Reply

from . import servers
from .servers import CHAT, COMPLETIONS, Json, Server, ask, data_lines, error

QUESTION = ask("one two three four five", max_tokens=5)
ANSWERED = (200, "length", 5)
DROPPED = (200, "error", 1)
"""A stream that ends after its first token."""
CLOSED = "Generation error: Response channel closed"
LOST_THE_RACE = (200, "error", 0)
BUSY = (503, "server_busy", 0)


@pytest.fixture
def two_slots() -> Iterator[Server]:
    """All requests of a burst arrive while the first of them is in its prefill, and it still
    answers when the others have had theirs.
    """
    with servers.scripted("v0.4.2", slots=2) as server:
        server.fake.scheduler.prefill_seconds = 0.1
        server.fake.token_seconds = 0.05
        yield server


def streamed(server: Server) -> tuple[int, str, int]:
    """The status, the finish reason or the kind of error, and the number of texts."""
    response = server.post(CHAT, {**QUESTION, "stream": True})
    if response.status_code != 200:
        return response.status_code, error(response)["type"], 0
    *events, done = data_lines(response.text)
    assert "[DONE]" == done
    return 200, events[-1].split('"finish_reason":"')[1].split('"')[0], len(events) - 2


def whole(server: Server) -> tuple[int, str]:
    """The status, and the message of an error."""
    response = server.post(CHAT, QUESTION)
    return response.status_code, error(response)["message"] if response.is_error else ""


def burst(server: Server, count: int, send: Callable[[Server], object]) -> Counter[object]:
    """Send requests that arrive together; returns how they ended."""
    arrived = threading.Barrier(count)

    def think(_: Json) -> None:
        arrived.wait(10)

    server.fake.think = think
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(send, server) for _ in range(count)]
    return Counter(future.result() for future in futures)


@contextmanager
def holding(server: Server, count: int) -> Iterator[None]:
    """Keep so many requests busy or waiting."""
    left = threading.Event()
    server.fake.scheduler.max_batch_prefill = 1
    server.fake.think = lambda body: Reply.text("slow", first_delay=60)

    def hold() -> None:
        with server.http.stream("POST", CHAT, json={**QUESTION, "stream": True}) as response:
            chunks = response.iter_bytes()  # who drops it leaves
            next(chunks)
            left.wait(30)

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 10
        while sum(server.get("/health").json()["batch"][name] for name in COUNTS) < count:
            assert time.monotonic() < deadline
        yield
    finally:
        left.set()
        for thread in threads:
            thread.join()


COUNTS = ("active_sequences", "queue_depth")


def test_as_many_as_slots_are_answered(two_slots: Server) -> None:
    assert {ANSWERED: 2} == burst(two_slots, 2, streamed)


@pytest.mark.parametrize(("count", "dropped"), [(3, 1), (6, 3)])
def test_more_streams_than_a_round_of_prefill_takes_are_dropped(
    two_slots: Server, count: int, dropped: int
) -> None:
    """A round of prefill takes four of them, however many slots are free."""
    ended = burst(two_slots, count, streamed)

    assert {ANSWERED: count - dropped, DROPPED: dropped} == ended


def test_rounds_of_one_prompt_drop_none(two_slots: Server) -> None:
    """`--max-batch-prefill 1`."""
    two_slots.fake.scheduler.max_batch_prefill = 1
    two_slots.fake.scheduler.prefill_seconds = 0.01

    assert {ANSWERED: 12} == burst(two_slots, 12, streamed)


def test_more_whole_answers_than_slots(two_slots: Server) -> None:
    """Those without a slot are an error."""
    two_slots.fake.http_threads = 8

    assert {(200, ""): 3, (400, CLOSED): 3} == burst(two_slots, 6, whole)


def test_few_threads_keep_whole_answers_from_that(two_slots: Server) -> None:
    """No more arrive than there are threads, as many as CPUs."""
    with ThreadPoolExecutor(6) as pool:
        ended = pool.map(whole, [two_slots] * 6)

    assert {(200, "")} == set(ended)


def test_a_full_queue() -> None:
    """It refuses; the health says so, with its whole body, and what makes no text works."""
    with servers.scripted("v0.4.2", slots=1) as server:
        server.fake.scheduler.max_queue_depth = 2
        with holding(server, 3):
            assert BUSY == streamed(server)
            refused = server.post(COMPLETIONS, {"model": "any", "prompt": "a"})
            health = server.get("/health")
            tokens = server.post("/tokenize", {"content": "a"})

    assert (503, "server_busy") == (refused.status_code, error(refused)["type"])
    assert "retry-after" not in refused.headers
    assert 503 == health.status_code
    body = health.json()
    assert "no slot available" == body["status"]
    assert {"active_sequences": 1, "queue_depth": 2, "max_batch_size": 1} == body["batch"]
    assert {"model", "observability", "context_size", "tool_call_parser"} <= body.keys()
    assert 200 == tokens.status_code


def test_requests_that_arrive_together_lose_the_race_for_the_queue(two_slots: Server) -> None:
    """Some pass the check, and find the queue full: a stream ends without a token."""
    two_slots.fake.scheduler.max_queue_depth = 2

    ended = burst(two_slots, 10, streamed)

    assert ended.keys() == {ANSWERED, LOST_THE_RACE} | (ended.keys() & {DROPPED})
    assert ended[LOST_THE_RACE] >= 7


def test_a_queue_of_none_refuses_all() -> None:
    with servers.scripted("v0.4.2") as server:
        server.fake.scheduler.max_queue_depth = 0

        assert 503 == server.get("/health").status_code
        assert BUSY == streamed(server)


def test_slots_that_wait_are_listed(two_slots: Server) -> None:
    with holding(two_slots, 4):
        states = [slot["state"] for slot in two_slots.get("/slots").json()]

    assert ["decoding", "decoding", "queued", "queued"] == states


def test_whole_answers_hold_the_threads(two_slots: Server) -> None:
    """While as many are made as there are threads, nothing is answered, not even the health."""
    two_slots.fake.think = lambda body: Reply.text("slow", first_delay=0.5)

    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        futures = [pool.submit(two_slots.post, CHAT, QUESTION) for _ in range(2)]
        while two_slots.fake.generating < 2:
            time.sleep(0.005)
        two_slots.get("/health")
        waited = time.monotonic() - began

    assert waited >= 0.5
    assert all(200 == future.result().status_code for future in futures)


def test_streams_hold_no_thread(two_slots: Server) -> None:
    with holding(two_slots, 3):
        began = time.monotonic()
        assert 200 == two_slots.get("/health").status_code
        assert time.monotonic() - began < 0.5


def test_a_client_that_leaves_does_not_end_a_whole_answer(two_slots: Server) -> None:
    """Its slot is free when the answer is made."""
    two_slots.fake.think = lambda body: Reply.text("slow", first_delay=0.5)

    with pytest.raises(servers.httpx.ReadTimeout):
        two_slots.http.post(CHAT, json=QUESTION, timeout=0.2)

    assert 1 == two_slots.fake.generating
    time.sleep(0.6)
    assert 0 == two_slots.fake.generating
