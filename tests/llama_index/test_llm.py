"""``Mlxcel`` against a scripted server."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from llama_index.core import (
    Document,
    PromptTemplate,
    Settings,
    SummaryIndex,
)
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CustomLLM,
    ImageBlock,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.rate_limiter import TokenBucketRateLimiter

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.samples import SAMPLING
from tests.fakes.server import FakeServer, Reply

Ask = Callable[..., Any]
HELLO = [ChatMessage("hello there")]


# --------------------------------------------------------------------------- the eight ways


def messages(given: Any) -> Any:
    return [ChatMessage(given)] if isinstance(given, str) else given


def chat(llm: Mlxcel, given: Any, **kwargs: Any) -> ChatResponse:
    response: ChatResponse = llm.chat(messages(given), **kwargs)
    return response


def achat(llm: Mlxcel, given: Any, **kwargs: Any) -> ChatResponse:
    return asyncio.run(llm.achat(messages(given), **kwargs))


def stream_chat(llm: Mlxcel, given: Any, **kwargs: Any) -> ChatResponse:
    *_, last = llm.stream_chat(messages(given), **kwargs)
    return last


def astream_chat(llm: Mlxcel, given: Any, **kwargs: Any) -> ChatResponse:
    return asyncio.run(last_of(llm.astream_chat, messages(given), **kwargs))


def complete(llm: Mlxcel, given: str, **kwargs: Any) -> CompletionResponse:
    response: CompletionResponse = llm.complete(given, **kwargs)
    return response


def acomplete(llm: Mlxcel, given: str, **kwargs: Any) -> CompletionResponse:
    return asyncio.run(llm.acomplete(given, **kwargs))


def stream_complete(llm: Mlxcel, given: str, **kwargs: Any) -> CompletionResponse:
    *_, last = llm.stream_complete(given, **kwargs)
    return last


def astream_complete(llm: Mlxcel, given: str, **kwargs: Any) -> CompletionResponse:
    return asyncio.run(last_of(llm.astream_complete, given, **kwargs))


async def last_of(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return [chunk async for chunk in await method(*args, **kwargs)][-1]


CHATS = [chat, achat, stream_chat, astream_chat]
COMPLETIONS = [complete, acomplete, stream_complete, astream_complete]
ALL_CHATS = pytest.mark.parametrize("ask", CHATS)
ALL_COMPLETIONS = pytest.mark.parametrize("ask", COMPLETIONS)
ALL_WAYS = pytest.mark.parametrize("ask", CHATS + COMPLETIONS)


@ALL_WAYS
def test_an_answer_comes_with_counts_and_what_the_server_told(
    server: FakeServer, llm: Mlxcel, ask: Ask
) -> None:
    response = ask(llm, "hello there")

    text = response.message.content if ask in CHATS else response.text
    assert "echo: hello there" == text
    assert {"id", "model", "finish_reason", "usage"} == set(response.raw)
    assert ("fake-model", "stop") == (response.raw["model"], response.raw["finish_reason"])
    counts = response.additional_kwargs
    assert counts == {name: response.raw["usage"][name] for name in counts}
    assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"] > 0
    route = "/v1/chat/completions" if ask in CHATS else "/v1/completions"
    (post,) = server.posts
    assert (route, True) == (post.path, post.json["stream"])
    assert {"include_usage": True} == post.json["stream_options"]


@ALL_CHATS
def test_thinking_and_calls_arrive_the_same_way(server: FakeServer, llm: Mlxcel, ask: Ask) -> None:
    call = {"id": "call_1", "name": "f", "arguments": '{"a": 1}'}
    server.script(Reply.text("hi", reasoning="let me think", tool_calls=[call]))

    message = ask(llm, "x").message

    kinds = [block.block_type for block in message.blocks]
    assert ["thinking", "text", "tool_call"] == kinds
    assert ("let me think", "hi") == (message.blocks[0].content, message.content)
    assert ("f", {"a": 1}) == (message.blocks[2].tool_name, message.blocks[2].tool_kwargs)


def test_a_stream_holds_everything_so_far_in_each_chunk(llm: Mlxcel) -> None:
    made = list(llm.stream_chat(HELLO))
    texts = list(llm.stream_complete("hello there"))

    for last, now in itertools.pairwise(made):
        assert last.message.content + now.delta == now.message.content
    for last, now in itertools.pairwise(texts):
        assert last.text + now.delta == now.text
    assert "echo: hello there" == made[-1].message.content == texts[-1].text


def test_logprobs_come_as_llama_indexes(llm: Mlxcel) -> None:
    response = llm.chat(HELLO, logprobs=True, top_logprobs=2)
    *chunks, last = llm.stream_chat(HELLO, logprobs=True, top_logprobs=2)

    assert len(response.logprobs) == response.additional_kwargs["completion_tokens"]
    assert response.logprobs == [position for chunk in chunks for position in chunk.logprobs]
    assert last.logprobs is None


# --------------------------------------------------------------------------- fields


def test_thinking_can_be_followed_as_it_comes(server: FakeServer, llm: Mlxcel) -> None:
    server.script(Reply.text("yes", reasoning="let me think"))

    deltas = [chunk.additional_kwargs.get("thinking_delta") for chunk in llm.stream_chat(HELLO)]

    assert "let me think" == "".join(filter(None, deltas))


def test_a_prompt_is_sent_as_it_is_or_as_completion_to_prompt_says(server: FakeServer) -> None:
    with Mlxcel(base_url=server.url, completion_to_prompt=lambda prompt: f"<{prompt}>") as llm:
        llm.complete("x")
        llm.complete("x", formatted=True)
        list(llm.stream_complete("x"))

    assert ["<x>", "x", "<x>"] == [post.json["prompt"] for post in server.posts]


def test_a_system_prompt_acts_where_llama_index_says(server: FakeServer) -> None:
    with Mlxcel(base_url=server.url, system_prompt="Be brief.") as llm:
        assert "echo: hi" == llm.predict(PromptTemplate("{x}"), x="hi")
        assert "echo: hi" == "".join(llm.stream(PromptTemplate("{x}"), x="hi"))
        llm.chat(HELLO)

    roles = [[message["role"] for message in post.json["messages"]] for post in server.posts]
    assert [["system", "user"], ["system", "user"], ["user"]] == roles


def test_data_that_is_no_image_is_refused_before_it_is_sent(
    server: FakeServer, llm: Mlxcel
) -> None:
    with pytest.raises(MlxcelError, match="is not an image"):
        llm.chat([ChatMessage([ImageBlock(image=b"no image at all", image_mimetype="image/png")])])
    with pytest.raises(MlxcelError, match="send_urls=True"):
        llm.chat([ChatMessage([ImageBlock(url="https://example.org/a.png")])])

    assert [] == server.posts


# --------------------------------------------------------------------------- what LlamaIndex asks


def test_it_is_what_llama_index_expects_of_a_model() -> None:
    names = {base.__name__ for base in Mlxcel.__mro__}

    assert {BaseLLM.__name__, CustomLLM.__name__, FunctionCallingLLM.__name__} <= names
    assert "mlxcel" == Mlxcel.class_name()
    inherited = [
        name
        for name in ("chat", "stream_chat", "complete", "stream_complete")
        for name in (name, f"a{name}")
        if name not in vars(Mlxcel)
    ]
    assert [] == inherited


def test_the_metadata_is_what_the_server_told_once() -> None:
    with FakeServer(context_size=512) as server, Mlxcel(base_url=server.url) as llm:
        assert [] == server.requests
        first = llm.metadata
        asked = len(server.requests)
        assert first == llm.metadata
        llm.chat(HELLO)

        assert asked == len(server.requests) - 1
    assert (512, 128) == (first.context_window, first.num_output)
    assert (True, True) == (first.is_chat_model, first.is_function_calling_model)
    assert "fake-model" == first.model_name


@pytest.mark.parametrize(
    ("given", "window", "output"),
    [
        ({}, 4096, 256),
        ({"max_tokens": 600}, 4096, 600),
        ({"max_tokens": 4000}, 4096, 1024),
        ({"context_window": 300}, 300, 75),
    ],
)
def test_the_room_for_an_answer_leaves_room_for_the_prompt(
    server: FakeServer, given: dict[str, Any], window: int, output: int
) -> None:
    metadata = Mlxcel(base_url=server.url, **given).metadata

    assert (window, output) == (metadata.context_window, metadata.num_output)


def test_after_astart_the_metadata_asks_nothing(server: FakeServer) -> None:
    async def use() -> None:
        async with Mlxcel(base_url=server.url) as llm:
            asked = len(server.requests)
            assert 4096 == llm.metadata.context_window
            assert asked == len(server.requests)

    asyncio.run(use())


@pytest.mark.parametrize("tools", [True, False, None])
def test_every_model_can_call_functions(server: FakeServer, tools: bool | None) -> None:
    props = {"build_info": "b1-x", "chat_template_caps": {"supports_tools": tools}}
    server.route("/props", Reply.json(props))

    assert Mlxcel(base_url=server.url).metadata.is_function_calling_model


class Recorder(BaseEventHandler):
    """Keeps the events."""

    seen: list[BaseEvent]

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.seen.append(event)


@pytest.fixture
def events() -> Iterator[list[BaseEvent]]:
    recorder, dispatcher = Recorder(seen=[]), get_dispatcher()
    dispatcher.add_event_handler(recorder)
    yield recorder.seen
    dispatcher.event_handlers.remove(recorder)


@ALL_WAYS
def test_each_call_makes_one_pair_of_events_without_secrets(
    server: FakeServer, events: list[BaseEvent], ask: Ask
) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([debug])
    options = {"callback_manager": manager, "served_model": "fake-model", "temperature": 0}
    secret = {"extra_body": {"token": "very-secret"}, "api_key": "very-secret"}
    with Mlxcel(base_url=server.url, **options, **secret) as llm:
        ask(llm, "x")

    kind = "Chat" if ask in CHATS else "Completion"
    names = [type(event).__name__ for event in events if "InProgress" not in type(event).__name__]
    assert [f"LLM{kind}StartEvent", f"LLM{kind}EndEvent"] == names
    assert ("stream" in ask.__name__) == (len(events) > 2)
    assert 1 == len(debug.get_llm_inputs_outputs())
    told = events[0].model_dump()["model_dict"]
    assert ("fake-model", "fake-model", 0) == tuple(
        told[name] for name in ("model", "model_name", "temperature")
    )
    assert "very-secret" not in repr(events) + repr(debug.get_events())


@ALL_WAYS
def test_the_token_counter_shows_the_servers_own_numbers(server: FakeServer, ask: Ask) -> None:
    usage = {"prompt_tokens": 1234, "completion_tokens": 321, "total_tokens": 1555}
    server.script(Reply.text("hi", usage=usage))
    counter = TokenCountingHandler(tokenizer=lambda text: text.split())
    with Mlxcel(base_url=server.url, callback_manager=CallbackManager([counter])) as llm:
        ask(llm, "x")

    assert (1234, 321) == (counter.prompt_llm_token_count, counter.completion_llm_token_count)


@ALL_WAYS
def test_a_rate_limiter_is_asked_once_for_each_call(server: FakeServer, ask: Ask) -> None:
    limiter = TokenBucketRateLimiter(requests_per_minute=60)
    with Mlxcel(base_url=server.url, rate_limiter=limiter) as llm:
        ask(llm, "x")

    assert 58.9 < limiter._request_tokens < 59.9


def test_it_serves_as_the_models_of_the_settings(server: FakeServer, llm: Mlxcel) -> None:
    Settings.llm, Settings.embed_model = llm, MockEmbedding(embed_dim=2)
    try:
        index = SummaryIndex.from_documents([Document(text="The meeting is in Oslo.")])
        answer = index.as_query_engine().query("Where is the meeting?")
        assert "Where is the meeting?" in str(answer)
        streamed = index.as_query_engine(streaming=True).query("Where is the meeting?")
        assert str(answer).strip() == "".join(streamed.response_gen).strip()
    finally:
        Settings.llm = MockLLM()

    assert "/v1/chat/completions" == server.posts[-1].path


# --------------------------------------------------------------------------- objects


def test_making_one_takes_less_than_a_millisecond_and_asks_nothing(server: FakeServer) -> None:
    def seconds() -> float:
        start = time.process_time()
        for _ in range(10):
            Mlxcel(base_url=server.url, temperature=0)
        return (time.process_time() - start) / 10

    assert min(seconds() for _ in range(5)) < 0.001
    assert [] == server.requests


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda llm: llm.model_copy(),
        lambda llm: pickle.loads(pickle.dumps(llm)),
        lambda llm: Mlxcel.from_dict(llm.to_dict()),
        lambda llm: Mlxcel.from_json(llm.to_json()),
    ],
    ids=["copy", "deepcopy", "model_copy", "pickle", "dict", "json"],
)
def test_copies_answer_at_the_same_socket(
    tmp_path: Path, copied: Callable[[Mlxcel], Mlxcel]
) -> None:
    path = tmp_path / "s.sock"
    options: dict[str, Any] = {"temperature": 0.5, "stop": "x", "reasoning": False}
    with FakeServer(socket=path), Mlxcel(socket=str(path), **options) as llm:
        llm.chat(HELLO)
        other = copied(llm)

        assert "echo: hello there" == other.chat(HELLO).message.content
        assert llm.to_dict() == other.to_dict()
        other.close()


def test_a_dictionary_with_all_options_makes_the_same_object() -> None:
    options: dict[str, Any] = {
        "model": "embedded", "binary": Path("/opt/mlxcel"), "extra_args": ("--x",),
        "share": False, "context_window": 99, "system_prompt": "s",
    } | SAMPLING  # fmt: skip
    llm = Mlxcel(**options)

    assert llm.to_dict() == Mlxcel.from_json(llm.to_json()).to_dict()


def test_no_key_is_printed_stored_or_pickled(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = Mlxcel(base_url=server.url, api_key="very-secret")

    shown = repr(llm) + str(llm) + llm.to_json() + json.dumps(llm.to_payload())
    assert "very-secret" not in shown
    assert b"very-secret" not in pickle.dumps(llm)
    monkeypatch.setenv("MLXCEL_API_KEY", "from-environment")
    Mlxcel.from_dict(llm.to_dict()).chat(HELLO)
    assert "Bearer from-environment" == server.posts[-1].headers["authorization"]


def test_a_misspelt_context_window_is_named() -> None:
    with pytest.raises(MlxcelError, match="Did you mean 'context_window'"):
        Mlxcel(base_url="http://x", contxt_window=1)


# --------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("status", "kind", "native"),
    [
        (400, "invalid_request_error", openai.BadRequestError),
        (401, "authentication_error", openai.AuthenticationError),
        (500, "server_error", openai.InternalServerError),
        (503, "server_busy", openai.InternalServerError),
    ],
)
@ALL_WAYS
def test_errors_are_openais(
    server: FakeServer, status: int, kind: str, native: type, ask: Ask
) -> None:
    server.script(Reply.error(status, "the reason", type=kind))
    with (
        Mlxcel(base_url=server.url, max_retries=0) as llm,
        pytest.raises(native, match="the reason"),
    ):
        ask(llm, "x")

    assert 1 == len(server.posts)


@ALL_WAYS
def test_a_server_that_is_not_there_is_named(ask: Ask) -> None:
    llm = Mlxcel(socket="/nowhere/x.sock", served_model="fake-model", max_retries=0)

    with pytest.raises(openai.APIConnectionError, match="nowhere"):
        ask(llm, "x")


@ALL_CHATS
def test_a_chat_that_does_not_fit_is_refused_before_it_is_sent(
    server: FakeServer, ask: Ask
) -> None:
    with (
        Mlxcel(base_url=server.url, check_context=True) as llm,
        pytest.raises(openai.BadRequestError, match=r"[0-9]+ tokens .* 4096"),
    ):
        ask(llm, "word " * 5000)

    assert [] == server.posts


# ------------------------------------------------------------------ threads and event loops


@pytest.mark.parametrize("name", ["achat", "astream_chat", "acomplete", "astream_complete"])
def test_asking_does_not_block_the_event_loop(server: FakeServer, llm: Mlxcel, name: str) -> None:
    server.script(Reply.text("one two three", delay=0.05, first_delay=0.3))

    async def longest_stall() -> float:
        method, given = getattr(llm, name), HELLO if "chat" in name else "x"
        task = asyncio.ensure_future(last_of(method, given) if "stream" in name else method(given))
        worst, last = 0.0, time.perf_counter()
        while not task.done():
            await asyncio.sleep(0.001)
            worst, last = max(worst, time.perf_counter() - last), time.perf_counter()
        await task
        return worst

    assert asyncio.run(longest_stall()) < 0.2
