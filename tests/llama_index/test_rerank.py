"""``MlxcelRerank`` of LlamaIndex against a scripted server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import NodeWithScore, TextNode

from mlxcel_integrations.llama_index import MlxcelRerank
from tests.fakes.server import FakeServer

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
    {"id": "ranker", "capabilities": ["rerank"]},
]
Call = Callable[..., Any]

TEXTS = ["nothing", "the sea", "deep sea", "the deep sea"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(models=MODELS, slots=2) as running:
        yield running


def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text), score=0.1) for text in TEXTS]


class Told(BaseEventHandler):
    """Notes the events of reranking."""

    events: list[Any] = []  # noqa: RUF012  # a field, not shared

    def handle(self, event: Any, **kwargs: Any) -> None:
        if event.class_name().startswith("ReRank"):
            self.events.append(event)


def test_nodes_are_ranked_as_new_ones_and_equals_keep_their_order(
    server: FakeServer, call: Call
) -> None:
    given = nodes()
    with MlxcelRerank(base_url=server.url) as ranker:
        kept = call(ranker, "postprocess_nodes", given, query_str="the deep sea")

    assert ["the deep sea", "the sea", "deep sea"] == [node.text for node in kept]
    assert [1, pytest.approx(2 / 3), pytest.approx(2 / 3)] == [node.score for node in kept]
    assert [0.1] * 4 == [node.score for node in given]


def test_the_score_of_the_retriever_is_kept_on_demand(server: FakeServer) -> None:
    given = nodes()
    with MlxcelRerank(base_url=server.url, keep_retrieval_score=True, top_n=None) as ranker:
        kept = ranker.postprocess_nodes(given, query_str="the deep sea")

    assert [{"retrieval_score": 0.1}] * 4 == [node.metadata for node in kept]
    assert [{}] * 4 == [node.metadata for node in given]


def test_events_and_callbacks_come_in_pairs(server: FakeServer, call: Call) -> None:
    told, debug = Told(), LlamaDebugHandler(print_trace_on_end=False)
    dispatcher = get_dispatcher("mlxcel_integrations.llama_index.rerank")
    dispatcher.add_event_handler(told)
    try:
        manager = CallbackManager([debug])
        with MlxcelRerank(base_url=server.url, callback_manager=manager) as ranker:
            call(ranker, "postprocess_nodes", nodes(), query_str="the deep sea")
            assert [] == call(ranker, "postprocess_nodes", [], query_str="the deep sea")
    finally:
        dispatcher.event_handlers.remove(told)

    start, end = told.events
    assert ("the deep sea", 3, 4) == (start.query, start.top_n, len(start.nodes))
    assert 3 == len(end.nodes)
    assert 1 == len(debug.get_event_pairs(CBEventType.RERANKING))


def test_without_a_question_there_is_no_ranking(server: FakeServer, call: Call) -> None:
    with MlxcelRerank(base_url=server.url) as ranker, pytest.raises(ValueError, match="query_str="):
        call(ranker, "postprocess_nodes", nodes())
