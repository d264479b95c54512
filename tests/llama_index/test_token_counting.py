"""What ``Mlxcel`` gives LlamaIndex to count with, against a scripted server and the engine."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import llama_index.core
import openai
import pytest
from llama_index.core import Settings, VectorStoreIndex, get_response_synthesizer
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.schema import Document, NodeWithScore, TextNode

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import Mlxcel, MlxcelTokenizer
from tests.fakes.replies import pieces
from tests.fakes.server import FakeServer
from tests.llama_index import measure_counting, measure_queries

CHAT = [ChatMessage("Be brief.", role="system"), ChatMessage("What is the weather in Oslo?")]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "x", "parameters": {"type": "object"}},
}
STORY = " ".join(f"The number of line {line} is {line * line}." for line in range(600))


@pytest.fixture(params=["v0.4.2", "newest"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param) as running:
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Mlxcel]:
    with Mlxcel(base_url=server.url, max_tokens=100) as model:
        yield model


def unwanted(text: str) -> NoReturn:
    raise AssertionError("the global tokenizer was asked")


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Fail what asks the global tokenizer, and take back what is set globally."""
    before = dict(vars(Settings))
    llama_index.core.global_tokenizer = unwanted
    yield
    vars(Settings).update(before)
    llama_index.core.global_tokenizer = None


def prompts(server: FakeServer) -> list[Any]:
    return [seen.json["messages"] for seen in server.posts]


def nodes(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in texts]


@pytest.mark.parametrize("more", [{}, {"tools": [WEATHER]}])
def test_messages_are_counted_as_the_usage_tells(llm: Mlxcel, more: dict[str, Any]) -> None:
    expected = llm.chat(CHAT, **more).raw["usage"]["prompt_tokens"]

    assert expected == llm.count_message_tokens(CHAT, **more)
    assert expected == asyncio.run(llm.acount_message_tokens(CHAT, **more))


# --------------------------------------------------------------------------- the context


def test_a_prompt_helper_leaves_room_for_the_template(llm: Mlxcel) -> None:
    helper = llm.prompt_helper(chunk_overlap_ratio=0.2)

    chat = [ChatMessage("word", role=role) for role in ("user", "assistant", "user")]
    assert helper.context_window == 4096 - llm.count_message_tokens(chat) + 3
    assert (100, 0.2) == (helper.num_output, helper.chunk_overlap_ratio)
    assert 77 == llm.prompt_helper(context_window=77).context_window


def test_a_prompt_of_messages_is_counted_with_the_models_tokenizer(llm: Mlxcel) -> None:
    template = ChatPromptTemplate([ChatMessage("{context_str} " + "word " * 50)])
    helper = llm.prompt_helper()

    packed = helper.repack(template, [STORY] * 3, llm=llm)
    assert len(packed) > 1
    room = helper.context_window - helper.num_output
    assert all(room - 80 < 50 + len(pieces(text)) < room for text in packed[:-1])


@pytest.mark.parametrize("template", [PromptTemplate, ChatPromptTemplate.from_messages])
def test_a_prompt_without_room_for_texts_is_an_error_with_both_numbers(
    llm: Mlxcel, template: Callable[[Any], Any]
) -> None:
    long = "word " * 5000 + "{context_str}"
    prompt = template(long if template is PromptTemplate else [("user", long)])

    message = r"The prompt has 500\d tokens .* the context has room for 40\d\d\. Shorten"
    with pytest.raises(MlxcelError, match=message):
        llm.prompt_helper().repack(prompt, [STORY], llm=llm)


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "accumulate"])
def test_what_is_retrieved_is_cut_to_the_context(
    llm: Mlxcel, server: FakeServer, mode: Any
) -> None:
    synthesizer = get_response_synthesizer(
        llm=llm, prompt_helper=llm.prompt_helper(), response_mode=mode
    )

    synthesizer.synthesize("Which number?", nodes(*[STORY] * 3))

    assert len(server.posts) > 1
    counts = [llm._llm.count_message_tokens(messages) for messages in prompts(server)]
    assert 3000 < max(counts) <= 4096 - 100


def test_a_query_that_does_not_fit_is_refused_before_it_is_sent(server: FakeServer) -> None:
    """Here LlamaIndex was told of a longer context than there is."""
    with Mlxcel(base_url=server.url) as llm:
        helper = llm.prompt_helper(context_window=20_000)
        synthesizer = get_response_synthesizer(llm=llm, prompt_helper=helper)

        with pytest.raises(openai.BadRequestError, match="4096") as caught:
            synthesizer.synthesize("Which number?", nodes(STORY))
        count = caught.value.body["n_prompt_tokens"]  # type: ignore[index]  # as the server's
        assert 4096 < count
        assert str(count) in str(caught.value)
        assert [] == server.posts


# --------------------------------------------------------------------------- splitters


def test_a_splitter_counts_many_sentences_in_few_requests() -> None:
    with FakeServer() as server, Mlxcel(base_url=server.url) as llm:
        chunks = llm.sentence_splitter(chunk_size=200, chunk_overlap=20).split_text(STORY)

        splitter = SentenceSplitter(chunk_size=200, chunk_overlap=20, tokenizer=pieces)
        assert splitter.split_text(STORY) == chunks
        assert len(server.requests) < 15


def test_a_splitter_counts_with_the_model_in_other_processes_too(
    llm: Mlxcel, server: FakeServer
) -> None:
    splitter = llm.sentence_splitter(chunk_size=200, chunk_overlap=20)
    copy = pickle.loads(pickle.dumps(splitter))

    assert splitter.split_text(STORY) == copy.split_text(STORY)
    assert splitter.to_dict() == copy.to_dict()
    assert isinstance(copy._tokenizer, MlxcelTokenizer)


# --------------------------------------------------------------------------- usage


def drain(stream: Any) -> None:
    for _ in stream:
        pass


async def adrain(stream: Any) -> None:
    async for _ in await stream:
        pass


CALLS: dict[str, Callable[[Mlxcel], Any]] = {
    "chat": lambda llm: llm.chat(CHAT),
    "stream_chat": lambda llm: drain(llm.stream_chat(CHAT)),
    "achat": lambda llm: asyncio.run(llm.achat(CHAT)),
    "astream_chat": lambda llm: asyncio.run(adrain(llm.astream_chat(CHAT))),
    "complete": lambda llm: llm.complete("Once upon a time"),
    "stream_complete": lambda llm: drain(llm.stream_complete("Once upon a time")),
    "acomplete": lambda llm: asyncio.run(llm.acomplete("Once upon a time")),
    "astream_complete": lambda llm: asyncio.run(adrain(llm.astream_complete("Once upon a time"))),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_token_counter_shows_what_the_server_tells(
    llm: Mlxcel, server: FakeServer, call: str
) -> None:
    counter = llm.token_counter(verbose=False)
    llm.callback_manager = CallbackManager([counter])
    usage = (llm.chat(CHAT) if "chat" in call else llm.complete("Once upon a time")).raw["usage"]
    counter.reset_counts()
    server.requests.clear()

    CALLS[call](llm)

    (event,) = counter.llm_token_counts
    assert usage["prompt_tokens"] == event.prompt_token_count
    assert usage["completion_tokens"] == event.completion_token_count
    assert not [seen for seen in server.requests if seen.path == "/tokenize"]


# --------------------------------------------------------------------------- global settings


def test_nothing_is_global_until_it_is_asked_for(llm: Mlxcel) -> None:
    llm.prompt_helper()
    llm.sentence_splitter()
    llm.token_counter()

    assert unwanted is llama_index.core.global_tokenizer


def test_it_can_be_the_global_model(llm: Mlxcel) -> None:
    llama_index.core.global_tokenizer = pieces
    Settings.node_parser = SentenceSplitter(chunk_size=300, chunk_overlap=30)
    llm.install_as_global()

    assert llm is Settings.llm
    assert 2 == len(Settings.tokenizer("two words"))
    window = llm.prompt_helper().context_window
    assert [window] * 2 == [Settings.context_window, Settings.chat_context_window]
    assert [100] * 2 == [Settings.num_output, Settings.chat_num_output]
    assert (300, 30) == (Settings.chunk_size, Settings.chunk_overlap)
    assert isinstance(Settings.node_parser._tokenizer, MlxcelTokenizer)  # type: ignore[attr-defined]  # of a splitter


def test_a_splitter_of_the_user_stays_in_the_settings(llm: Mlxcel) -> None:
    class Mine(SentenceSplitter):
        pass

    Settings.node_parser = mine = Mine(tokenizer=pieces)
    llm.install_as_global()

    assert mine is Settings.node_parser


def test_an_index_uses_what_is_global(llm: Mlxcel, server: FakeServer) -> None:
    llm.install_as_global()

    index = VectorStoreIndex.from_documents([Document(text=STORY)], embed_model=MockEmbedding(4))
    index.as_query_engine(similarity_top_k=8).query("Which number?")

    counts = [llm._llm.count_message_tokens(messages) for messages in prompts(server)]
    assert 3000 < max(counts) <= 4096 - 100


# --------------------------------------------------------------------------- on the engine


@pytest.mark.engine
def test_random_queries_over_long_texts_fit_into_a_small_context() -> None:
    prompts = measure_queries.measure(queries=4, sent=1, characters=6000)

    assert ([], []) == (prompts.overflows, prompts.wrong)
    assert len(prompts.counts) > 4
    assert prompts.sent


@pytest.mark.engine
def test_splitting_a_text_asks_the_engine_for_its_words_at_once() -> None:
    tokenizer = measure_counting.measure(measure_counting.split_words, characters=40_000)

    assert tokenizer.calls > 10_000
    assert tokenizer.seconds < 2
