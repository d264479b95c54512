"""One object of either framework in many threads and event loops."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tests.adapters.frameworks import Framework
from tests.fakes.server import FakeServer


def test_64_threads_share_one_object(framework: Framework, server: FakeServer) -> None:
    questions = [f"nonce-{number}" for number in range(256)]
    with framework.model(base_url=server.url) as llm, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda question: framework.ask(llm, question), questions))

    assert [f"echo: {question}" for question in questions] == answers


def test_one_object_serves_20_event_loops_one_after_the_other(
    framework: Framework, server: FakeServer
) -> None:
    with framework.model(base_url=server.url) as llm:
        answers = [asyncio.run(framework.aask(llm, f"loop {number}")) for number in range(20)]

    assert [f"echo: loop {number}" for number in range(20)] == answers
