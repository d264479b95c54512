"""``ExactSentenceSplitter`` against a scripted server."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.node_parser import SentenceSplitter

from mlxcel_integrations.llama_index import Mlxcel, MlxcelTokenizer
from tests.fakes.server import FakeServer
from tests.fakes.text import pieces
from tests.llama_index.conftest import STORY

pytestmark = pytest.mark.usefixtures("no_global_tokenizer")


def test_a_splitter_counts_many_sentences_in_few_requests() -> None:
    with FakeServer() as server, Mlxcel(base_url=server.url) as llm:
        chunks = llm.sentence_splitter(chunk_size=200, chunk_overlap=20).split_text(STORY)

        splitter = SentenceSplitter(chunk_size=200, chunk_overlap=20, tokenizer=pieces)
        assert splitter.split_text(STORY) == chunks
        assert len(server.requests) < 15


@pytest.mark.parametrize("generation", ["v0.4.2", "newest"])
def test_a_splitter_counts_with_the_model_in_other_processes_too(generation: Any) -> None:
    with FakeServer(generation) as server, Mlxcel(base_url=server.url) as llm:
        splitter = llm.sentence_splitter(chunk_size=200, chunk_overlap=20)
        copy = pickle.loads(pickle.dumps(splitter))

        assert splitter.split_text(STORY) == copy.split_text(STORY)
        assert splitter.to_dict() == copy.to_dict()
        assert isinstance(copy._tokenizer, MlxcelTokenizer)


def test_a_splitter_leaves_handlers_that_cannot_be_pickled_behind(llm: Mlxcel) -> None:
    handler: Any = LlamaDebugHandler(print_trace_on_end=False)
    handler.lock = threading.Lock()
    splitter = llm.sentence_splitter(callback_manager=CallbackManager([handler]))

    assert [] == pickle.loads(pickle.dumps(splitter)).callback_manager.handlers
