"""``MlxcelTokenizer`` against a scripted server."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.utils import Tokenizer

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import Mlxcel
from tests.fakes.program import executable
from tests.fakes.server import FakeServer
from tests.fakes.text import pieces
from tests.llama_index import measure_counting

TEXTS = ["one", "", "  two words\n", "früh 日本 🎉", "the <eos> of it"]
STORY = "\n\n".join(
    " ".join(f"word{(7 * line * place) % 300}" for place in range(1, 40)) for line in range(60)
)


def asked(server: FakeServer) -> list[Any]:
    return [seen.json["content"] for seen in server.requests if seen.path == "/tokenize"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokens_are_the_servers(llm: Mlxcel, text: str) -> None:
    expected = llm._llm.tokenize(text)

    tokens = llm.tokenizer(text)
    assert len(expected) == len(tokens)
    assert expected == tokens
    assert expected == llm.tokenizer.encode(text, add_special_tokens=False)


def test_the_ids_are_fetched_once_and_only_when_they_are_looked_at(
    llm: Mlxcel, server: FakeServer
) -> None:
    first = llm.tokenizer("two words")
    again = llm.tokenizer("two words")
    assert [2, 2] == [len(first), len(again)]
    assert ["two words"] == asked(server)

    ids = list(first)
    assert (ids[0], ids[1:]) == (first[0], first[1:])
    assert ["two words", "two words"] == asked(server)


def test_tokens_are_compared_by_their_ids(llm: Mlxcel) -> None:
    count = llm.tokenizer

    assert count("a b") == count("a b")
    assert count("a b") != count("a c")
    assert count("a b") != [1]
    assert count("a b") != "a b"


def test_it_is_what_llama_index_takes_for_a_tokenizer(llm: Mlxcel) -> None:
    assert isinstance(llm.tokenizer, Tokenizer)


def test_a_text_is_split_with_few_requests(llm: Mlxcel, server: FakeServer) -> None:
    def splitter(tokenizer: Any) -> TokenTextSplitter:
        return TokenTextSplitter(chunk_size=100, chunk_overlap=20, tokenizer=tokenizer)

    chunks = splitter(llm.tokenizer).split_text(STORY)

    assert splitter(pieces).split_text(STORY) == chunks
    assert len(asked(server)) < 10


def test_a_text_without_spaces_is_split_with_few_requests(llm: Mlxcel, server: FakeServer) -> None:
    text = "".join(chr(0xAC00 + number % 500) for number in range(3000))

    chunks = TokenTextSplitter(chunk_size=1, chunk_overlap=0, tokenizer=llm.tokenizer).split_text(
        text
    )

    assert text == "".join(chunks)
    assert len(asked(server)) < 10


def test_texts_can_be_counted_ahead(llm: Mlxcel, server: FakeServer) -> None:
    llm.tokenizer.prime([STORY, "a short one"])
    server.requests.clear()

    assert len(pieces(STORY)) == len(llm.tokenizer(STORY))
    assert [3, 1, 1] == [len(llm.tokenizer(text)) for text in ("a short one", "a", " one")]
    assert [] == server.requests


def test_an_old_server_is_only_asked_for_what_is_wanted() -> None:
    with FakeServer("v0.4.2") as server, Mlxcel(base_url=server.url) as llm:
        llm.tokenizer.prime(["a", "b"])
        assert len(pieces(STORY)) == len(llm.tokenizer(STORY))

        assert [STORY] == asked(server)


def test_many_threads_count_the_same(llm: Mlxcel) -> None:
    texts = [f"{STORY} {number % 4}" for number in range(32)] + TEXTS * 10
    tokenizer = llm.tokenizer

    with ThreadPoolExecutor(32) as pool:
        counts = list(pool.map(lambda text: len(tokenizer(text)), texts))

    assert [len(llm._llm.tokenize(text)) for text in texts] == counts


def test_it_counts_where_an_event_loop_runs(llm: Mlxcel) -> None:
    async def count() -> int:
        return len(llm.tokenizer("two words"))

    assert 2 == asyncio.run(count())


def test_what_is_no_text_is_an_error(llm: Mlxcel) -> None:
    with pytest.raises(MlxcelError, match="was given a NoneType: pass it a str"):
        llm.tokenizer(None)  # type: ignore[arg-type]  # the mistake


def test_a_server_that_is_gone_is_one_clear_error() -> None:
    with FakeServer() as server:
        llm = Mlxcel(base_url=server.url, max_retries=0)
        known = llm.tokenizer("one")

    for text in ("two", STORY):
        with pytest.raises(openai.APIConnectionError, match=server.url):
            llm.tokenizer(text)
    assert 1 == len(known) == len(llm.tokenizer("one"))


# --------------------------------------------------------------------------- in other processes


def test_it_can_be_pickled_without_the_key() -> None:
    with FakeServer(api_key="s3cret") as server:
        llm = Mlxcel(base_url=server.url, api_key="s3cret", timeout=7)
        pickled = pickle.dumps(llm.tokenizer)
        copy = pickle.loads(pickled)

        assert b"s3cret" not in pickled
        assert llm._connection.timeouts == copy._llm._connection.timeouts
        with pytest.raises(openai.AuthenticationError):
            copy("two words")


def test_a_key_is_read_from_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXCEL_API_KEY", "s3cret")
    with FakeServer(api_key="s3cret") as server:
        copy = pickle.loads(pickle.dumps(Mlxcel(base_url=server.url).tokenizer))

        assert 2 == len(copy("two words"))


def test_a_copy_asks_the_server_that_runs(tmp_path: Path) -> None:
    llm = Mlxcel(model="some/model", binary=executable(tmp_path), ctx_size=4096, timeout=7)
    before = pickle.loads(pickle.dumps(llm.tokenizer))
    with llm.start():
        copy = pickle.loads(pickle.dumps(llm.tokenizer))

        assert 2 == len(copy("two words"))
        assert llm._connection.address == copy._llm._connection.address
        assert copy._llm._connection.server is None
        assert llm._connection.timeouts == copy._llm._connection.timeouts
    after = pickle.loads(pickle.dumps(llm.tokenizer))
    for copy in (before, after):
        assert 4096 == copy._llm._connection.server.options.ctx_size


# --------------------------------------------------------------------------- on the engine


@pytest.mark.engine
def test_splitting_a_text_asks_the_engine_for_its_words_at_once() -> None:
    tokenizer = measure_counting.measure(measure_counting.split_words, characters=40_000)

    assert tokenizer.calls > 10_000
    assert tokenizer.seconds < 2
