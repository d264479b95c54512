"""Rows go to servers with a free slot, and again if their server is lost."""

from __future__ import annotations

import threading
import time

import pytest

from tests.fakes.answers import Json
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer
from tests.ray.asking import asked, question

pytest.importorskip("ray", reason="the extra [ray] is not installed")

from mlxcel_integrations.ray import ChatBatches


class Busy:
    """Answers once so many requests have come at once, and knows how many it had at most."""

    def __init__(self, enough: int) -> None:
        self.now = self.most = 0
        self._enough = enough
        self._changed = threading.Condition()

    def __call__(self, body: Json) -> Reply:
        with self._changed:
            self.now += 1
            self.most = max(self.most, self.now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._enough, 30)
        time.sleep(0.05)  # one too many would come meanwhile
        with self._changed:
            self.now -= 1
        return Reply.text("yes")


@pytest.mark.parametrize(("concurrency", "most"), [(None, 3), (2, 2)])
def test_a_server_is_asked_for_no_more_than_it_has_slots(
    concurrency: int | None, most: int
) -> None:
    busy = Busy(enough=most)
    with FakeServer(slots=3) as server:
        server.think = busy
        batches = ChatBatches(prompt="{n}", base_url=server.url, concurrency=concurrency)
        asked(batches, n=list(range(12)))

    assert most == busy.most


def test_rows_go_where_a_slot_is_free() -> None:
    """A slow server gets fewer of them."""

    def think_long(body: Json) -> Reply:
        fast.wait_post(count=30)
        return Reply.text("slow")

    with FakeServer() as slow, FakeServer() as fast:
        slow.think = think_long
        urls = [slow.url, fast.url]
        rows = asked(ChatBatches(prompt="{n}", base_url=urls, concurrency=2), n=list(range(40)))

    assert [None] * 40 == [row["error"] for row in rows]
    assert 2 <= len(slow.posts) < 10 < len(fast.posts)


def test_rows_wait_for_a_server_that_starts_again() -> None:
    """What it was working on is asked again."""
    first = FakeServer()
    again: list[FakeServer] = []

    def restart(body: Json) -> Reply | None:
        if len(first.posts) != 5:
            return None
        first.think = lambda body: None
        threading.Thread(target=swap).start()
        return Reply.text("never seen", first_delay=60)

    def swap() -> None:
        first.stop()
        again.append(FakeServer(port=first.port or 0))

    first.think = restart
    batches = ChatBatches(prompt="{n}", base_url=first.url, concurrency=2)
    rows = asked(batches, n=list(range(20)))
    again[0].stop()

    assert [f"echo: {n}" for n in range(20)] == [row["generated_text"] for row in rows]
    assert len(first.posts) + len(again[0].posts) > 20


def test_a_row_that_ends_its_server_each_time_is_an_error(server: FakeServer) -> None:
    server.think = lambda body: Reply.close() if question(body) == "3" else None

    rows = asked(ChatBatches(prompt="{n}", base_url=server.url), n=list(range(6)))

    errors = [row["error"] for row in rows]
    assert 5 == errors.count(None)
    assert errors[3].startswith("APIConnectionError: Lost the connection")
    assert 3 == sum(question(post.json) == "3" for post in server.posts)
