"""More requests at once than slots: mlxcel up to v0.4.2 breaks answers off, so they wait here."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelStreamError
from tests.fakes.answers import Generation
from tests.fakes.program import executable
from tests.fakes.server import FakeServer, Reply


@pytest.fixture
def generation() -> Generation:
    return "v0.4.2"


@pytest.fixture
def server(generation: Generation) -> Iterator[FakeServer]:
    """Two slots, and a scheduler with the fault."""
    with FakeServer(generation, slots=2) as fake:
        fake.token_seconds = 0.002
        yield fake


@pytest.fixture
def place() -> str:
    return "tcp"


def expected(number: int) -> str:
    return f"echo: number {number}"


def in_threads(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """What each thread gets; all begin together."""
    begin = threading.Barrier(count)

    def one(number: int) -> Any:
        begin.wait(10)
        return ask(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


@contextmanager
def holding(server: FakeServer, llm: LLM, count: int = 1) -> Iterator[list[Any]]:
    """Streams that keep slots busy, until they are closed."""
    server.script(*[Reply.text("a b c", delay=30)] * count)
    streams: list[Any] = [llm.chat_stream("hold") for _ in range(count)]
    for stream in streams:
        assert "a" == next(stream)
    try:
        yield streams
    finally:
        for stream in streams:
            stream.close()


def at_once(server: FakeServer) -> list[int]:
    """Watch how many slots and places of the server's queue are taken; the highest is the last."""
    seen = [0]
    think = server.think

    def watch(body: Any) -> Reply | None:
        taken = server.scheduler.running + server.scheduler.queued
        seen.append(max(seen[-1], taken + 1))
        return think(body)

    server.think = watch
    return seen


def test_that_is_what_such_a_server_does(server: FakeServer) -> None:
    """Twelve users who do not wait for one another: some answers break off."""
    server.scheduler.prefill_seconds = 0.05
    url = server.url

    def ask(number: int) -> str:
        try:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
            chat = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            return [chunk.choices[0].finish_reason or "" for chunk in chat if chunk.choices][-1]
        except openai.APIError:
            return "refused"

    assert {"stop"} < set(in_threads(12, ask))


@pytest.mark.parametrize("count", [12, 34])
def test_every_answer_to_many_threads_is_right(server: FakeServer, count: int) -> None:
    seen = at_once(server)
    with LLM(base_url=server.url) as llm:
        answers = in_threads(count, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(count)] == answers
    assert seen[-1] <= 2
    assert count == len(server.posts)


async def test_every_answer_to_many_tasks_is_right(server: FakeServer) -> None:
    async with AsyncLLM(base_url=server.url) as llm, asyncio.TaskGroup() as group:
        tasks = [group.create_task(llm.chat(f"number {n}")) for n in range(200)]

    assert [expected(number) for number in range(200)] == [task.result() for task in tasks]
    assert 200 == len(server.posts)


def test_users_with_objects_and_event_loops_of_their_own_are_all_answered(
    server: FakeServer,
) -> None:
    """Twelve of them: threads with a client each, and threads with an event loop each."""

    def ask(number: int) -> list[str]:
        if number % 2:
            with LLM(base_url=server.url) as llm:
                return [llm.chat(f"number {number}") for _ in range(3)]

        async def chats() -> list[str]:
            async with AsyncLLM(base_url=server.url) as llm:
                return [await llm.chat(f"number {number}") for _ in range(3)]

        return asyncio.run(chats())

    answers = in_threads(12, ask)

    assert [[expected(number)] * 3 for number in range(12)] == answers
    assert 36 == len(server.posts)


def test_completions_and_chats_wait_in_one_line(server: FakeServer) -> None:
    server.scheduler.prefill_seconds = 0.02
    with LLM(base_url=server.url) as one, LLM(base_url=f"{server.url}/v1") as other:
        asks = [one.chat, one.generate, other.chat, other.generate]
        answers = in_threads(16, lambda number: asks[number % 4](f"number {number}"))

    assert [expected(number) for number in range(16)] == answers
    assert 16 == len(server.posts)


def test_turns_come_in_the_order_of_the_requests(server: FakeServer) -> None:
    with (
        LLM(base_url=server.url) as llm,
        holding(server, llm, 2) as (first, _),
        ThreadPoolExecutor(8) as threads,
    ):
        futures = []
        for number in range(8):
            futures.append(threads.submit(llm.chat, f"number {number}"))
            time.sleep(0.03)
        first.close()
        for future in futures:
            future.result(10)

    asked = [post.json["messages"][-1]["content"] for post in server.posts[2:]]
    assert [f"number {number}" for number in range(8)] == asked


async def test_tasks_that_wait_can_be_cancelled(server: FakeServer) -> None:
    server.script(*[Reply.text("a b", delay=0.4)] * 2)
    async with AsyncLLM(base_url=server.url) as llm:
        held = [asyncio.ensure_future(llm.chat("hold")) for _ in range(2)]
        await asyncio.sleep(0.2)
        waiting = [asyncio.ensure_future(llm.chat(f"number {n}")) for n in range(6)]
        await asyncio.sleep(0.1)
        for task in waiting[::2]:
            task.cancel()
        answers = await asyncio.gather(*held, *waiting, return_exceptions=True)

    assert ["a b"] * 2 == answers[:2]
    assert [expected(number) for number in (1, 3, 5)] == answers[3::2]
    assert {asyncio.CancelledError} == {type(answer) for answer in answers[2::2]}
    assert 5 == len(server.posts)


async def test_a_task_that_is_cancelled_while_it_is_answered_gives_its_place_to_the_next(
    server: FakeServer,
) -> None:
    server.script(*[Reply.text("a b", delay=30)] * 2)
    async with AsyncLLM(base_url=server.url) as llm:
        held = [asyncio.ensure_future(llm.chat("hold")) for _ in range(2)]
        await asyncio.sleep(0.2)
        waiting = asyncio.ensure_future(llm.chat("number 1"))
        await asyncio.sleep(0.05)
        held[0].cancel()

        assert expected(1) == await asyncio.wait_for(waiting, 5)
        held[1].cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*held)


@pytest.mark.parametrize("leave", ["close", "forget"])
def test_a_stream_that_is_left_gives_its_place_to_the_next(server: FakeServer, leave: str) -> None:
    with (
        LLM(base_url=server.url) as llm,
        holding(server, llm, 2) as streams,
        ThreadPoolExecutor(1) as threads,
    ):
        waiting = threads.submit(llm.chat, "number 1")
        time.sleep(0.1)
        assert not waiting.done()
        if leave == "close":
            streams[0].close()
        else:
            del streams[0]

        assert expected(1) == waiting.result(5)


def test_who_waits_too_long_is_told_that_all_slots_are_busy(
    server: FakeServer, connect: Any
) -> None:
    with LLM(base_url=server.url) as busy, holding(server, busy, 2):
        client = connect(timeout=0.4)
        began = time.monotonic()
        with pytest.raises(openai.APITimeoutError, match=r"All slots .* busy for 0.4 s \(timeout"):
            client.chat("hi")

        assert 0.3 < time.monotonic() - began < 3
    assert 2 == len(server.posts)


def test_total_timeout_counts_the_wait(server: FakeServer, connect: Any) -> None:
    client = connect(total_timeout=0.3)
    with (
        LLM(base_url=server.url) as busy,
        holding(server, busy, 2),
        pytest.raises(openai.APITimeoutError, match=r"busy for 0.3 s \(total_timeout=\)"),
    ):
        client.chat("hi")


def test_a_queue_that_never_empties_holds_nobody_for_ever(server: FakeServer) -> None:
    """Each who waits gives up after its own timeout, and those behind move up."""
    with LLM(base_url=server.url, timeout=0.5) as llm:
        with LLM(base_url=server.url) as busy, holding(server, busy, 2):

            def ask(number: int) -> str:
                with pytest.raises(openai.APITimeoutError, match="All slots"):
                    llm.chat("hi")
                return "told"

            assert ["told"] * 8 == in_threads(8, ask)
        assert expected(1) == llm.chat("number 1")


# --------------------------------------------------------------------------- what /health says


def test_one_client_after_another_is_not_asked_for_slots(client: Any, server: FakeServer) -> None:
    for _ in range(3):
        client.chat("hi")

    assert "/health" not in [seen.path for seen in server.requests]


def test_the_slots_are_asked_for_once(server: FakeServer) -> None:
    with LLM(base_url=server.url) as llm:
        in_threads(12, lambda number: llm.chat("hi"))
        in_threads(12, lambda number: llm.chat("hi"))

    assert 1 == [seen.path for seen in server.requests].count("/health")


def test_a_full_server_tells_its_slots(server: FakeServer) -> None:
    """Its /health is an error with the whole body."""
    server.scheduler.max_queue_depth = 0
    with LLM(base_url=server.url, max_retries=0) as llm:
        features = llm.features
        assert ("mlxcel", 2, True) == (features.engine, features.slots, features.tools)


def test_what_a_busy_server_did_not_tell_is_asked_for_again(server: FakeServer) -> None:
    server.loading = True
    with LLM(base_url=server.url) as llm:
        assert llm.features.slots is None
        server.loading = False

        assert ("mlxcel", 2, True) == (
            llm.features.engine,
            llm.features.slots,
            llm.features.tools,
        )
        count = len(server.requests)
        assert 2 == llm.features.slots
        assert count == len(server.requests)


def test_a_server_that_loads_tells_its_slots_later(server: FakeServer) -> None:
    server.loading = True
    seen = at_once(server)
    with LLM(base_url=server.url) as llm:
        timer = threading.Timer(0.3, setattr, (server, "loading", False))
        timer.start()
        answers = in_threads(12, lambda number: llm.chat(f"number {number}"))
        again = in_threads(12, lambda number: llm.chat(f"number {number}"))
        timer.join()

    assert [expected(number) for number in range(12)] == answers == again
    assert 2 == seen[-1]
    assert [seen.path for seen in server.requests].count("/health") <= 3


@pytest.mark.parametrize(
    "health",
    [
        Reply.json({"status": "ok", "tool_call_parser": "hermes"}),
        Reply.json({"status": "ok", "tool_call_parser": None, "batch": {"max_batch_size": 0}}),
        Reply.json({"status": "ok", "tool_call_parser": None, "batch": "?"}),
    ],
    ids=["no batch", "no slots", "no object"],
)
def test_a_server_that_does_not_tell_its_slots_gets_one_request_at_a_time(
    server: FakeServer, health: Reply
) -> None:
    server.route("/health", health)
    seen = at_once(server)
    with LLM(base_url=server.url) as llm:
        answers = in_threads(8, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(8)] == answers
    assert 1 == seen[-1]


@pytest.mark.parametrize(
    "health",
    [
        Reply.error(500, "boom", "server_error"),
        Reply.plain(502, "<html>Bad Gateway</html>", "text/html"),
        Reply.plain(503),
        Reply.plain(200, "ok"),
        Reply.json([]),
        Reply.close(),
        Reply.hang(),
    ],
    ids=["500", "502", "503", "text", "list", "closed", "deaf"],
)
def test_a_health_that_fails_fails_no_request(
    server: FakeServer, health: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxcel_integrations.transport.generation.HEALTH_SECONDS", 0.3)
    server.route("/health", health)
    server.scheduler.max_batch_prefill = 1  # it is another server, as far as can be known
    with LLM(base_url=server.url, connect_timeout=0.3) as llm:
        answers = in_threads(6, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(6)] == answers


@pytest.mark.parametrize(
    "health", [Reply.plain(404), Reply.plain(200, "ok"), Reply.json({"status": "healthy"})]
)
def test_a_server_that_nobody_knows_gets_fewer_at_once_after_answers_that_broke_off(
    server: FakeServer, health: Reply
) -> None:
    """As behind a gateway that hides the routes by which an mlxcel up to v0.4.2 is known."""
    for path in ("/health", "/slots", "/v1/models"):
        server.route(path, health)
    server.scheduler.prefill_seconds = 0.05

    def ask(number: int) -> str:
        try:
            return llm.chat(f"number {number}")
        except MlxcelStreamError:
            return "broken off"

    with LLM(base_url=server.url, served_model="fake-model") as llm:
        first = in_threads(12, ask)
        again = in_threads(12, ask)

    assert "broken off" in first
    assert [expected(number) for number in range(12)] == again


@pytest.mark.parametrize(("hidden", "most"), [(["/health"], 2), (["/health", "/slots"], 1)])
@pytest.mark.parametrize(
    "answer",
    [Reply.plain(404), Reply.plain(200, "ok"), Reply.plain(502, "<html>", "text/html")],
    ids=["404", "text", "502"],
)
def test_behind_a_gateway_that_hides_the_health_the_server_is_recognized(
    server: FakeServer, hidden: list[str], most: int, answer: Reply
) -> None:
    for path in hidden:
        server.route(path, answer)
    seen = at_once(server)
    with LLM(base_url=server.url) as llm:
        answers = in_threads(12, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(12)] == answers
    assert most == seen[-1]
    paths = [request.path for request in server.requests]
    assert [1] * len(hidden) == [paths.count(path) for path in hidden]


async def test_whoever_is_cancelled_while_asking_leaves_it_to_the_next(
    server: FakeServer,
) -> None:
    server.route("/health", Reply.hang())
    server.script(*[Reply.text("a b", delay=0.4)])
    async with AsyncLLM(base_url=server.url) as llm:
        held = asyncio.ensure_future(llm.chat("hold"))
        await asyncio.sleep(0.1)
        asking = asyncio.ensure_future(llm.chat("hi"))
        await asyncio.sleep(0.2)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        server.unroute("/health")
        tasks = [asyncio.ensure_future(llm.chat(f"number {n}")) for n in range(6)]

        assert "a b" == await held
        assert [expected(n) for n in range(6)] == await asyncio.gather(*tasks)
    assert 2 == [seen.path for seen in server.requests].count("/health")


def test_what_makes_no_text_does_not_wait(server: FakeServer) -> None:
    with LLM(base_url=server.url) as llm, holding(server, llm, 2):
        began = time.monotonic()
        assert 2 == llm.count_tokens("one two")
        assert llm.count_message_tokens("one two") > 2
        assert ["fake-model"] == llm.models()
        assert 2 == llm.features.slots

        assert time.monotonic() - began < 2


# --------------------------------------------------------------------------- given up


def test_an_answer_that_is_given_up_before_its_first_token_is_asked_for_again(
    client: Any, server: FakeServer
) -> None:
    server.script(*[Reply.text("", finish="error")] * 2)

    assert expected(1) == client.chat("number 1")
    assert 3 == len(server.posts)


def test_an_answer_that_had_begun_is_not(client: Any, server: FakeServer) -> None:
    server.script(Reply.text("one", finish="error"))

    with pytest.raises(MlxcelStreamError, match="gave up on the answer") as caught:
        client.chat("hi")
    assert ("one", "") == (caught.value.partial, caught.value.stderr)
    assert 1 == len(server.posts)


def test_whoever_asks_again_waits_for_its_turn_again(server: FakeServer) -> None:
    server.script(*[Reply.text("", finish="error")] * 6)
    seen = at_once(server)
    with LLM(base_url=server.url, max_retries=8) as llm:
        answers = in_threads(12, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(12)] == answers
    assert seen[-1] <= 2
    assert 18 == len(server.posts)


# --------------------------------------------------------------------------- servers that queue


def test_a_managed_server_s_log_says_why_it_gave_up(tmp_path: Path) -> None:
    """Its user has told it not to queue."""
    with managed(tmp_path, extra_args=["--max-batch-prefill=4"], max_retries=0) as llm:

        def ask(number: int) -> str:
            try:
                return llm.chat(f"number {number}")
            except MlxcelStreamError as error:
                return error.stderr

        ended = in_threads(34, ask)

    logs = [text for text in ended if not text.startswith("echo:")]
    assert logs
    assert all("Failed to add sequence to active batch" in log for log in logs)


def managed(directory: Path, **options: Any) -> LLM:
    binary = executable(directory, FAKE_GENERATION="v0.4.2", FAKE_TOKEN_SECONDS="0.002")
    return LLM(model="m", binary=str(binary), parallel=2, **options)


def test_a_managed_server_queues_by_itself(tmp_path: Path) -> None:
    with managed(tmp_path) as llm:
        answers = in_threads(34, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(34)] == answers


@pytest.mark.parametrize("generation", ["newest"])
def test_a_server_that_is_replaced_by_one_with_the_fault_is_asked_again(
    server: FakeServer,
) -> None:
    with LLM(base_url=server.url) as llm:
        in_threads(4, lambda number: llm.chat("hi"))
        port = server.port
        server.stop()
        with FakeServer("v0.4.2", slots=2, port=port or 0, model_id="older") as older:
            older.token_seconds = 0.002
            with pytest.warns(UserWarning, match="answers with the models"):
                llm.chat("hi")
            llm.chat("hi")
            seen = at_once(older)
            answers = in_threads(12, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(12)] == answers
    assert 2 == seen[-1]


@pytest.mark.parametrize("generation", ["newest"])
def test_other_servers_are_sent_all_at_once(server: FakeServer) -> None:
    arrived = threading.Barrier(6)

    def think(_: Any) -> None:
        arrived.wait(10)

    with LLM(base_url=server.url) as llm:
        in_threads(2, lambda number: llm.chat("hi"))  # the second one learns it
        server.think = think
        answers = in_threads(6, lambda number: llm.chat(f"number {number}"))

    assert [expected(number) for number in range(6)] == answers
