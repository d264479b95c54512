"""Base of both models: batches bound to slots, and identity in caches, dumps and traces."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, dumps, loads

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM
from tests.fakes.samples import SAMPLING
from tests.fakes.server import FakeServer, Reply

Way = Callable[..., list[Any]]
SLOTS = 3


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(slots=SLOTS) as running:
        yield running


@pytest.fixture(params=[ChatMlxcel, MlxcelLLM])
def llm(request: pytest.FixtureRequest, server: FakeServer) -> Iterator[Any]:
    with request.param(base_url=server.url) as model:
        yield model


def batch(llm: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return list(llm.batch(*args, **kwargs))


def abatch(llm: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return list(asyncio.run(llm.abatch(*args, **kwargs)))


def batch_as_completed(llm: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return in_order(list(llm.batch_as_completed(*args, **kwargs)))


def abatch_as_completed(llm: Any, *args: Any, **kwargs: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [answer async for answer in llm.abatch_as_completed(*args, **kwargs)]

    return in_order(asyncio.run(collect()))


def in_order(answers: list[tuple[int, Any]]) -> list[Any]:
    return [answer for _, answer in sorted(answers, key=lambda pair: pair[0])]


def texts(answers: list[Any]) -> list[str]:
    return [answer if isinstance(answer, str) else answer.text for answer in answers]


ALL_WAYS = pytest.mark.parametrize("way", [batch, abatch, batch_as_completed, abatch_as_completed])


def received_at_once(server: FakeServer, expected: int) -> list[int]:
    """Hold answers back until so many requests wait; return how many had come each time.

    With a lower bound the server would wait in vain, with a higher one more would have come.
    """
    counts: list[int] = []
    barrier = Barrier(expected, action=lambda: counts.append(len(server.posts)), timeout=10)

    def think(body: Any) -> Reply | None:
        barrier.wait()
        return None

    server.think = think
    return counts


@ALL_WAYS
def test_a_batch_keeps_its_order_and_sends_as_many_at_once_as_there_are_slots(
    server: FakeServer, llm: Any, way: Way
) -> None:
    counts = received_at_once(server, SLOTS)
    questions = [f"question {number}" for number in range(4 * SLOTS)]

    assert [f"echo: {question}" for question in questions] == texts(way(llm, questions))
    assert [3, 6, 9, 12] == counts


@ALL_WAYS
@pytest.mark.parametrize("bound", [2, 6])
def test_max_concurrency_says_otherwise(server: FakeServer, llm: Any, way: Way, bound: int) -> None:
    counts = received_at_once(server, bound)

    way(llm, ["x"] * 12, {"max_concurrency": bound})

    assert list(range(bound, 13, bound)) == counts
    assert "/props" not in [seen.path for seen in server.requests]


@ALL_WAYS
def test_slots_are_asked_for_once_and_only_for_several_inputs(
    server: FakeServer, llm: Any, way: Way
) -> None:
    def asked() -> int:
        return [seen.path for seen in server.requests].count("/props")

    assert [] == way(llm, [])
    way(llm, ["x"])
    assert 0 == asked()
    way(llm, ["x", "y"])
    way(llm, ["x", "y"])
    assert 1 == asked()


@ALL_WAYS
def test_an_interactive_call_goes_before_what_is_left_of_a_batch(way: Way) -> None:
    begun, go = Event(), Event()

    def think(body: Any) -> Reply | None:
        begun.set()
        go.wait(10)
        return None

    with (
        FakeServer("v0.4.2", slots=1) as server,
        ChatMlxcel(base_url=server.url) as llm,
        ThreadPoolExecutor(2) as threads,
    ):
        server.think = think
        line = llm._connection.line
        batch = threads.submit(way, llm, ["of the batch"] * 4, {"max_concurrency": 4})
        wait_until(lambda: begun.is_set() and line.waiting == 3)
        answer = threads.submit(llm.invoke, "now")
        wait_until(lambda: line.waiting == 4)
        go.set()

        assert "echo: now" == answer.result(10).text
        assert ["echo: of the batch"] * 4 == texts(batch.result(10))
        asked = [post.json["messages"][-1]["content"] for post in server.posts]
        assert 1 == asked.index("now")


def wait_until(happens: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happens() and time.monotonic() < end:
        time.sleep(0.01)


@ALL_WAYS
def test_the_errors_of_a_batch_stand_in_their_places(way: Way) -> None:
    llm = ChatMlxcel(base_url="http://127.0.0.1:9", max_retries=0)

    errors = way(llm, ["x", "y"], return_exceptions=True)

    assert [True, True] == [isinstance(error, openai.APIConnectionError) for error in errors]
    with pytest.raises(openai.APIConnectionError):
        way(llm, ["x", "y"])


def test_bound_tools_and_chains_heed_the_slots_too(server: FakeServer) -> None:
    counts = received_at_once(server, SLOTS)
    with ChatMlxcel(base_url=server.url) as llm:
        chain = llm.bind(seed=1) | (lambda message: message.text)

        assert ["echo: x"] * 6 == chain.batch(["x"] * 6)
    assert [3, 6] == counts


@pytest.mark.parametrize("way", [batch, abatch])
def test_a_batch_of_structured_answers_keeps_to_the_slots_too(server: FakeServer, way: Way) -> None:
    counts = received_at_once(server, SLOTS)

    with ChatMlxcel(base_url=server.url) as llm:
        asked = llm.with_structured_output({"type": "object"})
        way(asked, ["a"] * 2 * SLOTS, return_exceptions=True)

    assert [SLOTS, 2 * SLOTS] == counts


# --------------------------------------------------------------------------- identity


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_it_can_be_dumped_and_loaded_without_its_key(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = ChatMlxcel(base_url=server.url, api_key="very-secret", temperature=0.5, stop=["x"])
    monkeypatch.setenv("MLXCEL_API_KEY", "from-environment")

    dumped = dumps(llm)
    loaded = loads(
        dumped,
        allowed_objects=[ChatMlxcel],
        valid_namespaces=["mlxcel_integrations"],
        secrets_from_env=True,
    )

    assert "very-secret" not in dumped
    assert (0.5, ["x"]) == (loaded.temperature, loaded.stop)
    assert "from-environment" == loaded.api_key.get_secret_value()
    assert "echo: x" == loaded.invoke("x", stop=[]).text
    loaded.close()


def cache_key(**options: Any) -> str:
    return ChatMlxcel(**{"base_url": "http://127.0.0.1:1", **options})._get_llm_string()


@pytest.mark.parametrize(
    "other",
    [{"base_url": "http://127.0.0.1:2"}, {"served_model": "m"}, {"reasoning": True}]
    + [{name: value} for name, value in SAMPLING.items()],
    ids=lambda other: next(iter(other)),
)
def test_whatever_may_change_an_answer_is_in_the_cache_key(other: dict[str, Any]) -> None:
    assert cache_key() != cache_key(**other)


@pytest.mark.parametrize(
    "same",
    [{"timeout": 3}, {"max_retries": 0}, {"api_key": "k"}, {"tags": ["t"]}, {"verbose": True}],
    ids=lambda same: next(iter(same)),
)
def test_what_changes_no_answer_is_not_in_the_cache_key(same: dict[str, Any]) -> None:
    assert cache_key() == cache_key(**same)


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://127.0.0.1:2"},
        {"temperature": 0.5},
        {"reasoning": True},
        {"stop": ["x"]},
    ],
)
def test_what_is_changed_is_in_the_cache_key_from_then_on(change: dict[str, Any]) -> None:
    llm = ChatMlxcel(base_url="http://127.0.0.1:1")
    assert cache_key() == llm._get_llm_string()

    for name, value in change.items():
        setattr(llm, name, value)

    assert cache_key(**change) == llm._get_llm_string()


def test_a_cached_answer_needs_no_server(server: FakeServer) -> None:
    with ChatMlxcel(base_url=server.url, cache=InMemoryCache()) as llm:
        first = llm.invoke("x")
        assert first.content == llm.invoke("x").content
        llm.invoke("x", temperature=0.5)

    assert 2 == len(server.posts)


def test_no_key_is_printed_or_pickled(server: FakeServer) -> None:
    llm = ChatMlxcel(base_url=server.url, api_key="very-secret")

    assert "very-secret" not in repr(llm) + str(llm) + str(llm._identifying_params)
    assert b"very-secret" not in pickle.dumps(llm)


def test_a_text_model_is_dumped_without_its_key() -> None:
    llm = MlxcelLLM(base_url="http://127.0.0.1:1", api_key="very-secret")

    dumped = dumpd(llm)
    assert "constructor" == dumped["type"]
    assert "very-secret" not in repr(dumped)
    assert {"lc": 1, "type": "secret", "id": ["MLXCEL_API_KEY"]} == dumped["kwargs"]["api_key"]


def test_tracing_is_told_the_provider_and_the_model() -> None:
    params = MlxcelLLM(base_url="http://x", served_model="m", stop=["END"])._get_ls_params()

    assert ("mlxcel", "m", "llm") == (
        params["ls_provider"],
        params["ls_model_name"],
        params["ls_model_type"],
    )
    assert ["END"] == params["ls_stop"]


@pytest.mark.parametrize("model", [ChatMlxcel, MlxcelLLM])
@pytest.mark.parametrize("method", ["_generate", "_agenerate"])
def test_a_signature_that_langchain_inspects_in_every_call_is_made_once(
    model: type, method: str
) -> None:
    first, second = (inspect.signature(getattr(model, method)) for _ in range(2))
    assert first is second
    assert "run_manager" in first.parameters
