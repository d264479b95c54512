"""``MlxcelRerank``: reranking for LlamaIndex."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import (  # type: ignore[attr-defined]  # missing in __all__ there
    get_dispatcher,
)
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field

from ..adapters.rerank import RerankAdapter
from ..protocol.vectors.rerank import RankedDocument

__all__ = ["MlxcelRerank"]

dispatcher = get_dispatcher(__name__)

Nodes = list[NodeWithScore]
End = Callable[[Sequence[RankedDocument]], Nodes]


class MlxcelRerank(RerankAdapter, BaseNodePostprocessor, defer_build=False):
    """Sorts nodes by their relevance to a query, and keeps the best.

    Starts a server for ``model`` on first use, or talks to the one at ``base_url`` or ``socket``.
    Of several served models, uses the one that the server reports as made for reranking;
    ``served_model`` names another.

    It returns new nodes; equally relevant ones keep their order.
    """

    keep_retrieval_score: bool = Field(
        default=False,
        description="Whether to keep the retriever's score, as retrieval_score in the metadata.",
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores such a model."""
        return "MlxcelRerank"

    def _postprocess_nodes(self, nodes: Nodes, query_bundle: QueryBundle | None = None) -> Nodes:
        query = _query_text(query_bundle)
        if not nodes:
            return []
        with self._events(nodes, query) as end:
            return end(self.rerank(query, _texts(nodes)))

    async def _apostprocess_nodes(
        self, nodes: Nodes, query_bundle: QueryBundle | None = None
    ) -> Nodes:
        query = _query_text(query_bundle)
        if not nodes:
            return []
        with self._events(nodes, query) as end:
            return end(await self.arerank(query, _texts(nodes)))

    @contextlib.contextmanager
    def _events(self, nodes: Nodes, query: str) -> Iterator[End]:
        """Send LlamaIndex's events around a ranking; yield a function that makes its nodes."""
        known = self.served_model or self.reranker_model or self.model
        name = known or repr(self._connection)
        top_n = self.top_n or len(nodes)
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:

            def end(ranking: Sequence[RankedDocument]) -> Nodes:
                ranked = [
                    self._with_score(nodes[one.index], one.relevance_score) for one in ranking
                ]
                event.on_end(payload={EventPayload.NODES: ranked})
                dispatcher.event(ReRankEndEvent(nodes=ranked))
                return ranked

            yield end

    def _with_score(self, node: NodeWithScore, score: float) -> NodeWithScore:
        kept = node.node
        if self.keep_retrieval_score:
            metadata = {**kept.metadata, "retrieval_score": node.score}
            kept = kept.model_copy(update={"metadata": metadata})
        return NodeWithScore(node=kept, score=score)


def _query_text(query: QueryBundle | None) -> str:
    if query is None:
        raise ValueError("Reranking needs a query: pass query_str= or query_bundle=.")
    return query.query_str


def _texts(nodes: Nodes) -> list[str]:
    return [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
